"""The training step: one patriarch, or one generation, from its spec."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from gendistill.data.augment import KEYS
from gendistill.data.sources import open_data
from gendistill.data.views import ViewSpace, derive_key
from gendistill.errors import SettingError, UserError
from gendistill.files import write_bytes, write_csv
from gendistill.networks.recompute import as_trained
from gendistill.networks.trained import Description, load_network, load_teacher, save_network
from gendistill.precision import choose_device, layout, make_deterministic, number_format
from gendistill.softlabels.exact import why_online
from gendistill.softlabels.extent import distilled_epochs
from gendistill.softlabels.store import drawn_views
from gendistill.training.dropout import add_dropout
from gendistill.training.fitted import Fitted, fit_objective
from gendistill.training.loop import Hooks, Row, evaluate, fit, predict
from gendistill.training.objective import Objective, read_objective
from gendistill.training.replay import why_not
from gendistill.training.resume import load_resume, save_resume
from gendistill.training.start import share_layers, start_from
from gendistill.training.teacher import Teacher, online_teacher, stored_teacher

if TYPE_CHECKING:
    from gendistill.runtime import Runtime

PURPOSES = ("initialisation", "order", "views", "dropout", "objective", *KEYS)


def train_network(settings: dict[str, Any], inputs: dict[str, Path], folder: Path, runtime: "Runtime") -> dict[str, Any]:
    """Train one network and write `model.safetensors`, `logits.safetensors` (of the test images) and `history.csv`.

    Args:
        settings: network, objective, recipe, seed, and generation or member.
        inputs: folders of `dataset`; for a student of `softlabels` (stored), or of `teacher` (online, or for the layers that
            it shares); for fine-tuning of `start`, the network whose weights all layers but the classifier start from.
        folder: where the results go, and the resume checkpoint.
        runtime: device, threads, progress, and the processes that train together, of which process 0 writes files.

    Returns:
        Last-epoch metrics (the main ones), best-epoch metrics marked as such, and what the computation used.

    Raises:
        UserError: an input is missing or corrupt, or the settings don't fit the data.
        DivergedError: the loss was not finite.
        InterruptedTraining: a stop was requested; the next call resumes.
    """
    make_deterministic()
    processes = runtime.processes
    device = choose_device(runtime.device)
    recipe, seed = settings["recipe"], settings["seed"]
    generation, member = settings.get("generation", 0), settings.get("member", 0)
    keys = {purpose: derive_key(purpose, seed, generation, member) for purpose in PURPOSES}
    data = open_data(inputs["dataset"], recipe, runtime.source, device, runtime.threads)
    # A network taken out of a joint one is another than the settings of that one.
    start = load_network(inputs["start"], device) if "start" in inputs else None
    network_settings = start[1].network if start and "taken" in settings else settings["network"]
    objective = read_objective(settings["objective"], recipe["epochs"])
    network_settings = as_trained(network_settings, objective.needs)
    description = Description(network_settings, data.shape, data.classes, data.mean, data.std, recipe["precision"])
    torch.manual_seed(keys["initialisation"] % 2**63)
    network = description.build().to(device, memory_format=layout(recipe["precision"]))
    if shares := settings["network"].get("shares"):
        share_layers(network, load_network(inputs["teacher"], device)[0], shares)
    if start:
        start_from(network, start[0])
    add_dropout(network, recipe)
    beside = load_network(inputs["teacher"], device) if looks_inside(objective) else None
    if beside:
        check_alike(description, beside[1])
    fitted = fit_objective(objective, network, beside and beside[0], description, device, keys["objective"])
    why = why_not(network, objective, recipe, len(data.splits["train"]), processes.count, device)
    replays = runtime.cuda_graphs and not why
    teacher = _teacher(settings, inputs, description, fitted, beside, len(data.splits["train"]), device, replays)
    hooks = Hooks(
        save=lambda state: save_resume(folder, {"identity": folder.name, **state}) if processes.rank == 0 else None,
        stop_requested=runtime.stop_requested,
        progress=runtime.progress,
        log=runtime.log,
        record=runtime.record,
        checkpoint_every=runtime.checkpoint_every,
        cuda_graphs=replays,
        processes=processes,
    )
    dtype = str(number_format(recipe["precision"], device)).removeprefix("torch.")
    runtime.log(f"{sum(p.numel() for p in network.parameters()):,} parameters, {dtype} on {device}")
    if teacher and (reason := why_online(recipe)):
        runtime.log(f"soft labels: from the teacher online, because {reason}")
    if runtime.cuda_graphs:
        runtime.log(f"steps are not replayed as CUDA graphs: {why}" if why else "steps are replayed as CUDA graphs")
    # Process 0 looks first, and puts a damaged file aside.
    resume = load_resume(folder, folder.name) if processes.rank == 0 else None
    if processes.any(resume is not None) and processes.rank:
        resume = load_resume(folder, folder.name)
    history = fit(network, description, data.splits, fitted, teacher, recipe, keys, resume, hooks)
    final: Row = {}
    for split, source in data.splits.items():
        if split == "train" and data.on_disk:
            # Another pass over all files; the error on the views trained on must do.
            final["train_error_pct"] = history[-1]["train_error_pct"]
            continue
        logits = predict(network, description, source, processes)
        final |= evaluate(split, logits, source.labels)
        if split == "test" and processes.rank == 0:
            save_test_logits(logits, source.labels, folder)
    history[-1] |= {name: value for name, value in final.items() if not name.startswith("train")}
    runtime.record(history)
    if processes.rank == 0:
        save_network(network, description, folder)
        write_csv(folder / "history.csv", history)
    return {
        **final,
        **best_epoch(history),
        "parameters": sum(p.numel() for p in network.parameters()),
        "images_per_second": float(np.median([row["images_per_second"] for row in history])),
        "number_format": dtype,
    }


def best_epoch(history: list[Row]) -> dict[str, Any]:
    """The test error of the best evaluated epoch, chosen on validation images where there are any, else on the test images.

    Chosen on the test images it is biased downwards; the papers that print it do so.
    """
    split = "validation" if "validation_error_pct" in history[-1] else "test"
    best = min((row for row in history if "test_error_pct" in row), key=lambda row: row[f"{split}_error_pct"])
    return {
        "best_epoch": int(best["epoch"]),
        "best_epoch_test_error_pct": best["test_error_pct"],
        "best_epoch_chosen_on": split,
    }


def looks_inside(objective: Objective) -> bool:
    """Whether an objective needs more of the teacher than its logits."""
    return any(need.startswith("teacher_") for need in objective.needs)


def check_alike(student: Description, teacher: Description) -> None:
    """Check that a teacher was trained on such images as its student sees.

    Raises:
        UserError: it was not.
    """
    for what, own, other in (("classes", student.classes, teacher.classes), ("shape", student.shape, teacher.shape)):
        if own != other:
            raise UserError(
                f"the student's data have {what} {own}, but its teacher was trained on data with {what} {other}: both must be "
                "the same. Set dataset, or patriarch.dataset, of the experiment."
            )


def _teacher(
    settings: dict[str, Any],
    inputs: dict[str, Path],
    description: Description,
    fitted: Fitted,
    beside: tuple[nn.Module, Description] | None,
    images: int,
    device: torch.device,
    replays: bool,
) -> Teacher | None:
    if "softlabels" in inputs:
        recipe = settings["recipe"]
        space = ViewSpace(recipe["pad"], recipe["flip"])
        epochs = distilled_epochs(fitted.objective.distil_until, recipe["epochs"])

        def drawn() -> np.ndarray:
            return drawn_views(settings["seed"], settings["generation"], epochs, images, space)

        return stored_teacher(inputs["softlabels"], (images, len(space), description.classes), device, drawn)
    if "teacher" not in inputs:
        return None
    # A folded network has not all layers any more.
    network, taught = beside or load_teacher(inputs["teacher"], device)
    check_alike(description, taught)
    gradient = "teacher_input_gradient" in fitted.objective.needs
    return online_teacher(network, taught, fitted.paths(1), gradient, settings["recipe"]["batch_size"] if replays else 0)


def save_test_logits(logits: torch.Tensor, labels: torch.Tensor, folder: Path) -> None:
    """Write the float32 logits of the plain test images, (N, K), and their labels, int64 (N,), for ensembles."""
    from safetensors.torch import save

    if not logits.isfinite().all():
        raise SettingError("the trained network's outputs are not finite: lower recipe.learning_rate")
    write_bytes(folder / "logits.safetensors", save({"logits": logits, "labels": labels.cpu()}))
