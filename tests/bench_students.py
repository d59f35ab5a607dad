"""Our side of `make bench`: students that learn by the real training loop, and the real dump of soft labels.

As a module it is one of several students side by side: it answers each line `go EPOCHS` by one `{"images": N, "seconds": S}`.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gendistill.data.images import FILE, Images, load_images, save_images
from gendistill.data.sources import ArrayImages
from gendistill.data.views import ViewSpace, derive_key
from gendistill.networks.trained import Description, load_teacher, save_network
from gendistill.networks.weights import FILE as WEIGHTS
from gendistill.plan.settings import load_group
from gendistill.precision import REFERENCE, layout, make_deterministic
from gendistill.receipt import write_receipt
from gendistill.runtime import Runtime, limit_threads
from gendistill.softlabels.dump import dump_soft_labels
from gendistill.softlabels.store import FILE as STORE
from gendistill.training.fitted import fit_objective
from gendistill.training.loop import Hooks, fit
from gendistill.training.objective import read_objective
from gendistill.training.processes import Processes
from gendistill.training.run import PURPOSES
from gendistill.training.teacher import Teacher, online_teacher, stored_teacher

# What every way does, torchdistill too: plain values.
WORK: dict[str, Any] = {
    "teacher": "resnet56",
    "student": "resnet20",
    "classes": 100,
    "batch_size": 64,
    "learning_rate": 0.05,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "pad": 4,
    "temperature": 4.0,
    "label_weight": 0.1,
}
SPACE = ViewSpace(WORK["pad"], flip=True)
SIDE, CHANNELS, WARMING_BATCHES = 32, 3, 10
ONLINE, DUMPED = "online", "dumped"
PRECISIONS = ("float32", "auto")
# Marks ways of which the steps are replayed as CUDA graphs.
REPLAYED = " replayed"
# Trains some epochs, or dumps some times: the number of images, or of views, and the seconds that it took.
Way = Callable[[int], tuple[int, float]]


def main() -> None:
    """One student, told line by line for how many epochs to train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="what `prepare` wrote")
    parser.add_argument("--labels", choices=(ONLINE, DUMPED), required=True)
    parser.add_argument("--precision", choices=PRECISIONS, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--cuda-graphs", action="store_true", help="its steps are replayed")
    given = parser.parse_args()
    settle(given.threads)
    way = student(given.folder, given.labels, given.precision, torch.device(given.device), given.seed, given.cuda_graphs)
    way(1)
    print(json.dumps({"threads": torch.get_num_threads()}), flush=True)
    for line in sys.stdin:
        images, seconds = way(int(line.split()[1]))
        print(json.dumps({"images": images, "seconds": seconds}), flush=True)


def settle(threads: int) -> None:
    """Threads and kernels as in a step."""
    limit_threads(threads)
    torch.set_num_threads(threads)
    make_deterministic()


def prepare(folder: Path, count: int, dumped: int, device: torch.device) -> dict[str, int]:
    """Write a synthetic CIFAR-100, a part of it for the dump, and teachers; return the parameters of teacher and student.

    Args:
        folder: gets `images.npz` for torchdistill, `dataset`, `part` and a `teacher-PRECISION` for each, as steps leave them.
        count: training images, drawn at random.
        dumped: images of the part.
        device: where the teacher sees its first images, from which batch norm gets its statistics.
    """
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, CHANNELS, SIDE, SIDE), dtype=np.uint8)
    labels = random.integers(0, WORK["classes"], count)
    for name, size in (("dataset", count), ("part", dumped)):
        parts = {"train": slice(size), "test": slice(1)}
        data = Images(
            {split: images[part] for split, part in parts.items()},
            {split: labels[part] for split, part in parts.items()},
            [f"class {i}" for i in range(WORK["classes"])],
            [],
            [],
        )
        save_images(data, folder / name)
        write_receipt(folder / name, {}, (FILE,), {}, {})
    mean, std = load_images(folder / "dataset").mean_and_std()
    np.savez(folder / "images.npz", images=images, labels=labels, mean=mean, std=std)
    torch.manual_seed(0)
    teacher = describe(WORK["teacher"], mean, std, "float32").build().to(device)
    see_images(teacher, torch.from_numpy(images[: WARMING_BATCHES * WORK["batch_size"]]).to(device))
    for precision in (*PRECISIONS, REFERENCE):
        where = folder / f"teacher-{precision}"
        save_network(teacher, describe(WORK["teacher"], mean, std, precision), where)
        write_receipt(where, {}, (WEIGHTS,), {}, {})
    networks = {"teacher": teacher, "student": describe(WORK["student"], mean, std, "float32").build()}
    return {name: sum(weight.numel() for weight in network.parameters()) for name, network in networks.items()}


def describe(name: str, mean: list[float], std: list[float], precision: str) -> Description:
    """A network of `config/network`, with the shortcuts that torchdistill's have: a 1x1 convolution and batch norm."""
    settings = {**load_group("network", name), "shortcut": "B"}
    return Description(settings, [CHANNELS, SIDE, SIDE], WORK["classes"], mean, std, precision)


@torch.no_grad()
def see_images(network: torch.nn.Module, images: torch.Tensor) -> None:
    """Give batch norm the statistics of some images: with none, a deep network's outputs would leave the range of float16."""
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        # The mean over all batches.
        norm.momentum = None
    network.train()
    for batch in images.split(WORK["batch_size"]):
        network((batch.float() / 255 - 0.5) * 4)
    network.eval()


def write_store(folder: Path, device: str, progress: Callable[[int, int], None]) -> None:
    """Dump the soft labels of all views of all images, as the step does."""
    runtime = Runtime(device=device)
    runtime.progress = progress
    dump_soft_labels(
        view_settings(), {"teacher": folder / "teacher-auto", "dataset": folder / "dataset"}, folder / "store", runtime
    )
    write_receipt(folder / "store", {}, (STORE,), {}, {})


def view_settings() -> dict[str, Any]:
    return {"pad": SPACE.pad, "flip": SPACE.flip}


def dump(folder: Path, precision: str, device: torch.device) -> Way:
    """The real dump of all views of the part of the images, from reading the files to the store on disk."""
    runtime = Runtime(device=device.type)
    runtime.progress = lambda done, total: None
    inputs = {"teacher": folder / f"teacher-{precision}", "dataset": folder / "part"}

    def run(times: int) -> tuple[int, float]:
        def work() -> int:
            found = [dump_soft_labels(view_settings(), inputs, folder / f"dumped-{precision}", runtime) for _ in range(times)]
            return sum(each["images"] * each["views"] for each in found)

        return clock(work, device)

    return run


def student(folder: Path, labels: str, precision: str, device: torch.device, seed: int = 0, cuda_graphs: bool = False) -> Way:
    """A student that goes on learning: views, soft labels, loss and SGD as in a training, without evaluation and checkpoints.

    Args:
        folder: what `prepare` and `write_store` wrote.
        labels: `online` or `dumped`.
        precision: of the student, and of the teacher online.
        device: of both.
        seed: of the student.
        cuda_graphs: whether its steps, and those of the teacher online, are replayed.
    """
    data = load_images(folder / "dataset")
    description = describe(WORK["student"], *data.mean_and_std(), precision)
    torch.manual_seed(seed)
    network = description.build().to(device, memory_format=layout(precision))
    images, classes = (torch.from_numpy(arrays["train"]).to(device) for arrays in (data.images, data.labels))
    splits = {"train": ArrayImages(images, classes, SPACE)}
    teacher = make_teacher(folder, labels, precision, len(images), device, cuda_graphs)
    settings = {**load_group("objective", "kd"), "temperature": WORK["temperature"], "alpha": 1 - WORK["label_weight"]}
    objective = fit_objective(read_objective(settings, 1), network, None, description, device, key=0)
    same = ("batch_size", "learning_rate", "momentum", "weight_decay", "pad")
    recipe = {**load_group("recipe", "cifar_ekd"), **{name: WORK[name] for name in same}, "precision": precision}
    hooks = Hooks(
        save=lambda state: None,
        stop_requested=lambda: False,
        progress=lambda done, total: None,
        log=lambda text: None,
        record=lambda rows: None,
        checkpoint_every=sys.maxsize,
        cuda_graphs=cuda_graphs,
        processes=Processes(),
    )
    turn = 0

    def run(epochs: int) -> tuple[int, float]:
        nonlocal turn
        turn += 1
        # Other views and another order in each turn.
        keys = {purpose: derive_key(purpose, seed, turn, 0) for purpose in PURPOSES}
        settings = {**recipe, "epochs": epochs, "milestones": [], "evaluate_every": sys.maxsize}

        def work() -> int:
            fit(network, description, splits, objective, teacher, settings, keys, None, hooks)
            return epochs * len(images)

        return clock(work, device)

    return run


def make_teacher(folder: Path, labels: str, precision: str, images: int, device: torch.device, cuda_graphs: bool) -> Teacher:
    """The teacher online, or its outputs in the store."""
    if labels == DUMPED:
        every = np.ones((images, len(SPACE)), bool)
        return stored_teacher(folder / "store", (images, len(SPACE), WORK["classes"]), device, lambda: every)
    return online_teacher(
        *load_teacher(folder / f"teacher-{precision}", device), [], False, WORK["batch_size"] if cuda_graphs else 0
    )


def clock(work: Callable[[], int], device: torch.device) -> tuple[int, float]:
    """What `work` returns, and the seconds until the device has done all of it."""
    synchronise(device)
    started = time.monotonic()
    done = work()
    synchronise(device)
    return done, time.monotonic() - started


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
