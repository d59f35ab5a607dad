"""What a step has to do, counted and not timed: operations, kernels, bytes in memory, bytes read and written."""

import math
from dataclasses import dataclass, field
from typing import Any

from gendistill.cost.counts import Counts, counts_of, with_second_backward
from gendistill.cost.data import Size, size_of
from gendistill.networks.recompute import as_trained
from gendistill.plan import Plan, Step
from gendistill.plan.step import NETWORKS, SHARED_OUT
from gendistill.softlabels.extent import distilled_epochs, expected_views, first_epochs, view_count

# The kinds of step that compute with a network, on a GPU where there is one.
COMPUTES = (*NETWORKS, "member", "softlabels", "language_softlabels", "transfer", "statistics", "agreement", "class_structure")
# Images of a forward pass without a backward one, as in training, soft labels and evaluations alike.
EVALUATION_BATCH = 200
# Words of each stream that a teacher of text reads at a time.
UNROLLED_STEPS = 35
LOGIT_BYTES = 4
# Of images on disk: those that are decoded ahead, the one that is, and the one in use.
BATCHES_WAITING = 4
SOFT_LABEL_BYTES = 2
# Of a job that packs a store of images.
PACKING_THREADS = 8
# A linear SVM is fitted to 5 folds for 6 values of C and once to all; each fit takes about 100 passes of 2 operations a feature.
SVM_OPERATIONS = (5 * 6 + 1) * 100 * 2


@dataclass(frozen=True)
class Pass:
    """A network that looks at images, or reads words, without learning.

    Attributes:
        counts: of the network.
        images: how many, all together.
        batch: how many at a time.
        precision: the setting of the network's recipe.
        unrolled: steps in time of a batch; 1 for images.
        by_images: whether the gradient by the images is taken too.
    """

    counts: Counts
    images: float
    batch: int
    precision: str
    unrolled: int = 1
    by_images: bool = False


@dataclass(frozen=True)
class Work:
    """What one step has to do.

    Attributes:
        kind: of the step.
        unknown: why it cannot be counted; then the rest says nothing. Empty if it can.
        counts: of the network that is trained; None if none is.
        batch: images, or words, of a forward and backward pass.
        unrolled: steps in time of such a pass; 1 for images.
        training_steps: such passes, in all epochs.
        trained: images, or words, through forward and backward pass, in all epochs.
        passes: what goes through a network forward only: evaluation, soft labels, a teacher online.
        precision: the setting of the recipe of the network that is trained.
        data_bytes: of the data set, which is in memory; of one on disk, its index; of a store of images, nothing.
        view_bytes: of the training images with the padding that views are cut from.
        waiting_bytes: of images that are decoded before they are used.
        logits: numbers of the logits of a whole split, which are kept together.
        mapped_bytes: of soft labels that are read where they lie.
        read_bytes: of large files, each once.
        written: bytes of each large file that the step leaves.
        decoded: images that are decoded from their files.
        checkpoints: how often the state to resume from is saved.
        svm_operations: of linear SVMs.
        threads: CPU threads of each process of the step.
        processes: that do the step together, each on a GPU of its own.
        device: the setting `runtime.device`.
    """

    kind: str
    unknown: str = ""
    counts: Counts | None = None
    batch: int = 0
    unrolled: int = 1
    training_steps: int = 0
    trained: float = 0
    passes: tuple[Pass, ...] = ()
    precision: str = "auto"
    data_bytes: int = 0
    view_bytes: int = 0
    waiting_bytes: int = 0
    logits: int = 0
    mapped_bytes: int = 0
    read_bytes: int = 0
    written: dict[str, int] = field(default_factory=dict)
    decoded: float = 0
    checkpoints: int = 0
    svm_operations: float = 0
    threads: int = 1
    processes: int = 1
    device: str = "auto"

    @property
    def computes(self) -> bool:
        """Whether the step computes with a network on a GPU, where there is one."""
        return self.kind in COMPUTES and self.device != "cpu"


def threads_of_data(step: Step) -> int:
    """CPU threads of the preparation of a data set: it is loaded by one, a store of images packed by many."""
    return PACKING_THREADS if step.settings.get("store") is not None else 1


class _Unknown(Exception):
    """A data set whose size nothing tells yet."""


def work_of(plan: Plan, step: Step) -> Work:
    """What a step of a plan has to do. Tables, ensembles and statistics of numbers are small, and count as nothing."""
    runtime = plan.runtime.get(step.name, {})
    about = {"threads": runtime.get("threads", 1), "device": runtime.get("device", "auto")}
    if step.kind in ("dataset", "text"):
        about["threads"] = threads_of_data(step)
    about["processes"] = runtime.get("processes", 1) if step.kind in SHARED_OUT else 1
    try:
        return Work(step.kind, **about, **_counted(plan, step))
    except _Unknown as why:
        return Work(step.kind, unknown=str(why), **about)


def _counted(plan: Plan, step: Step) -> dict[str, Any]:
    if step.kind in ("dataset", "text"):
        return _preparation(_size(step))
    if step.kind not in COMPUTES:
        return {}
    data = _size(_input(plan, step, "dataset"))
    if step.kind == "member":
        return _taking_out(plan, step, data)
    if step.kind in NETWORKS:
        return _training(plan, step, data)
    if step.kind in ("softlabels", "language_softlabels"):
        return _soft_labels(plan, step, data)
    return _evaluation(plan, step, data)


def _preparation(data: Size) -> dict[str, Any]:
    return {
        "data_bytes": data.file_bytes if data.store is None else 0,
        "written": {"dataset.safetensors": data.file_bytes},
        # Small images come as one array, large ones as files; a store may have smaller ones.
        "decoded": sum(data.counts.values()) if _makes_images(data) else 0,
    }


def _makes_images(data: Size) -> bool:
    if data.on_disk:
        return isinstance(data.store, int)
    return math.prod(data.shape) > 64 * 64 * 3


def _training(plan: Plan, step: Step, data: Size) -> dict[str, Any]:
    recipe, objective = step.settings["recipe"], step.settings["objective"]
    needs = objective.get("needs", ())
    network = as_trained(step.settings["network"], needs)
    counts, precision = _network(step, data, network)
    if "input" in needs:
        counts = with_second_backward(counts)
    if data.shape:
        first = first_epochs(objective, recipe["epochs"])
        found = _image_training(recipe, data, first)
        looked = _evaluations(recipe) * data.evaluated + (0 if data.on_disk else data.counts["train"])
        batch = EVALUATION_BATCH
        written = {"logits.safetensors": data.counts["test"] * (LOGIT_BYTES * data.classes + 8)}
    else:
        found = _text_training(recipe, data)
        first, looked = 0, recipe["epochs"] * data.evaluated + data.counts["train"]
        batch = recipe["evaluation_batch_size"] * recipe["unrolled_steps"]
        written = {}
    looks = [Pass(counts, looked, batch, precision, found["unrolled"])]
    mapped = 0
    if "softlabels" in step.inputs:
        mapped = _soft_labels(plan, _input(plan, step, "softlabels"), data)["written"]["softlabels.npy"]
    elif "teacher" in step.inputs:
        teacher = _network_of_step(plan, _input(plan, step, "teacher"))
        images = (first + distilled_epochs(objective.get("distil_until", 1.0), recipe["epochs"])) * data.counts["train"]
        by_images = "teacher_input_gradient" in needs
        looks.append(Pass(teacher[0], images, found["batch"], teacher[1], found["unrolled"], by_images))
    return {
        **found,
        **_in_memory(data, recipe, found["batch"]),
        "logits": _largest_split(data) * data.classes if data.shape else 0,
        "counts": counts,
        "precision": precision,
        "passes": tuple(looks),
        "mapped_bytes": mapped,
        "read_bytes": data.file_bytes + mapped,
        "written": {"model.safetensors": counts.state_bytes, **written},
        "decoded": (found["trained"] + _evaluations(recipe) * data.evaluated) if data.on_disk else 0,
        "checkpoints": recipe["epochs"],
    }


def _image_training(recipe: dict[str, Any], data: Size, first: int) -> dict[str, Any]:
    train, epochs = data.counts["train"], first + recipe["epochs"]
    # Where memory is too small for a batch, it comes in parts.
    batch = min(recipe.get("micro_batch") or recipe["batch_size"], recipe["batch_size"])
    return {"batch": min(batch, train), "unrolled": 1, "training_steps": epochs * -(-train // batch), "trained": epochs * train}


def _text_training(recipe: dict[str, Any], data: Size) -> dict[str, Any]:
    streams, unrolled, epochs = recipe["batch_size"], recipe["unrolled_steps"], recipe["epochs"]
    length = (data.counts["train"] - 1) // streams
    return {
        "batch": streams * unrolled,
        "unrolled": unrolled,
        "training_steps": epochs * -(-length // unrolled),
        "trained": epochs * length * streams,
    }


def _evaluations(recipe: dict[str, Any]) -> int:
    """How often the images that are not trained on are looked at; the last epoch is always evaluated."""
    return -(-recipe["epochs"] // recipe["evaluate_every"])


def _soft_labels(plan: Plan, step: Step, data: Size) -> dict[str, Any]:
    counts, precision = _network_of_step(plan, _input(plan, step, "teacher"))
    if data.shape:
        looked, batch, unrolled = round(data.counts["train"] * _dumped_views(**step.settings)), EVALUATION_BATCH, 1
    else:
        streams, unrolled = step.settings["batch_size"], UNROLLED_STEPS
        looked, batch = (data.counts["train"] - 1) // streams * streams, streams * UNROLLED_STEPS
    return {
        **_in_memory(data, step.settings if data.shape else {}),
        "passes": (Pass(counts, looked, batch, precision, unrolled),),
        "read_bytes": data.file_bytes + counts.state_bytes,
        "written": {"softlabels.npy": looked * data.classes * SOFT_LABEL_BYTES},
    }


def _dumped_views(pad: int, flip: bool, epochs: int | None = None, **_: int) -> float:
    """The views of each image, on average, that a soft-labels step looks at: those drawn in some epochs, or all."""
    return view_count(pad, flip) if epochs is None else expected_views(epochs, pad, flip)


def _evaluation(plan: Plan, step: Step, data: Size) -> dict[str, Any]:
    roles = [role for role in ("network", "student", "teacher") if role in step.inputs]
    networks = [_network_of_step(plan, _input(plan, step, role)) for role in roles]
    images = sum(count for split, count in data.counts.items() if split != "validation" or step.kind == "transfer")
    # Class structure wants features and logits, each in a pass of its own.
    times = 2 if step.kind == "class_structure" else 1
    counts = networks[0][0]
    svm = data.counts["train"] * counts.features * data.classes * SVM_OPERATIONS if step.kind == "transfer" else 0
    return {
        **_in_memory(data, {}),
        "logits": _largest_split(data) * max(data.classes, counts.features),
        "passes": tuple(Pass(each, times * images, EVALUATION_BATCH, precision) for each, precision in networks),
        "read_bytes": data.file_bytes + sum(each.state_bytes for each, _ in networks),
        "decoded": images if data.on_disk else 0,
        "svm_operations": svm,
    }


def _taking_out(plan: Plan, step: Step, data: Size) -> dict[str, Any]:
    """One network of several that were trained together: it is evaluated as at the end of a training."""
    counts, precision = _network(step, data)
    joint, _ = _network_of_step(plan, _input(plan, step, "joint"))
    images = data.evaluated + (0 if data.on_disk else data.counts["train"])
    return {
        **_in_memory(data, {}),
        "logits": _largest_split(data) * data.classes,
        "passes": (Pass(counts, images, EVALUATION_BATCH, precision),),
        "read_bytes": data.file_bytes + joint.state_bytes,
        "written": {
            "model.safetensors": counts.state_bytes,
            "logits.safetensors": data.counts["test"] * (LOGIT_BYTES * data.classes + 8),
        },
        "decoded": images if data.on_disk else 0,
    }


def _largest_split(data: Size) -> int:
    """Images of the largest split whose logits are computed; the training images on disk are not looked at again."""
    return max(count for split, count in data.counts.items() if split != "train" or not data.on_disk)


def _in_memory(data: Size, views: dict[str, Any], batch: int = EVALUATION_BATCH) -> dict[str, Any]:
    """What is in memory of a data set of which batches are taken; `views` says with how much padding training images are held, if
    it is not empty.
    """
    found = {"data_bytes": data.file_bytes if data.store is None else 0}
    if data.on_disk:
        found["waiting_bytes"] = BATCHES_WAITING * max(batch, EVALUATION_BATCH) * math.prod(data.shape)
    elif data.shape:
        channels, height, width = data.shape
        pad, train = views.get("pad", 0), data.counts["train"]
        found["view_bytes"] = train * channels * (height + 2 * pad) * (width + 2 * pad) if views else 0
    return found


def _input(plan: Plan, step: Step, role: str) -> Step:
    return plan.steps[str(step.inputs[role])]


def _size(step: Step) -> Size:
    found = size_of(step)
    if found is None:
        raise _Unknown(f"the size of the data set {step.settings['name']} is known once {step.name} is done")
    return found


def _network_of_step(plan: Plan, step: Step) -> tuple[Counts, str]:
    """The counts and the precision, `auto` or `float32`, of the network that a step trains, on the images it is trained on."""
    return _network(step, _size(_input(plan, step, "dataset")))


def _network(step: Step, data: Size, network: dict[str, Any] | None = None) -> tuple[Counts, str]:
    """Of the step's network, or of one with other settings."""
    taken = {"taken": step.settings["taken"]} if "taken" in step.settings else {}
    counts = counts_of({**(network or step.settings["network"]), **taken}, step.code, data.shape, data.classes)
    return counts, "auto" if step.settings["recipe"]["precision"] == "auto" else "float32"
