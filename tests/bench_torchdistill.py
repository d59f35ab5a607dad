"""torchdistill's side of `make bench`: it trains as its own CIFAR-100 examples do, and answers on a line how long that took.

Runs by itself in an environment that has torchdistill and not gendistill; tests/bench_training.py starts it. The first line that
it prints tells what it runs with. Then each line `go WAY EPOCHS` that it reads is answered by one `{"images": N, "seconds": S}`.
"""

import argparse
import contextlib
import importlib.util
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset, RandomSampler

SHIPPED, EVAL = "shipped", "eval"
TRAIN = "cifar100/train"
PROBES = 3


def load_file(file: Path) -> ModuleType:
    """The module in a file of gendistill's, which is not installed here."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


import_torchvision = load_file(Path(__file__).parents[1] / "src/gendistill/data/torchvision_import.py").import_torchvision


def main() -> None:
    """Read the options and then, line by line, what to do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help=".npz of images (N, C, H, W), labels, mean and std (0 to 255)")
    parser.add_argument("--settings", type=json.loads, required=True, help="JSON: networks, batch size, SGD, temperature, ...")
    parser.add_argument("--device", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--workers", type=int, nargs="+", required=True, help="numbers of loader processes to choose from")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    # As its example scripts do.
    torch.backends.cudnn.benchmark = True
    device = torch.device(given.device)
    # Whatever a library prints must not come between the answers.
    with contextlib.redirect_stdout(sys.stderr):
        data = synthetic_cifar100(given.data, given.settings["pad"])
        rates = {workers: probe(make_box(data, given.settings, device, workers), device) for workers in given.workers}
        workers = max(rates, key=rates.get)
        boxes = {way: make_box(data, given.settings, device, workers) for way in (SHIPPED, EVAL)}
        for box in boxes.values():
            run(box, device, 1)
        # Only now, so that batch norm has seen images.
        boxes[EVAL].teacher_model.eval()
        modes = {way: "train" if box.teacher_model.training else "eval" for way, box in boxes.items()}
        run(boxes[EVAL], device, 1)
    answer(
        {
            "versions": {name: version(name) for name in ("torchdistill", "torch", "torchvision")},
            "parameters": {
                "teacher": count_parameters(boxes[SHIPPED].teacher_model),
                "student": count_parameters(boxes[SHIPPED].student_model),
            },
            "teacher_mode": modes,
            "workers": workers,
            "images_per_second_by_workers": rates,
            "number_format": str(next(boxes[SHIPPED].student_model.parameters()).dtype).removeprefix("torch."),
            "tf32_in_convolutions": given.device == "cuda" and torch.backends.cudnn.allow_tf32,
            "threads": torch.get_num_threads(),
            "device": given.device,
        }
    )
    for line in sys.stdin:
        _, way, epochs = line.split()
        with contextlib.redirect_stdout(sys.stderr):
            seconds = run(boxes[way], device, int(epochs))
        mode = "train" if boxes[way].teacher_model.training else "eval"
        assert mode == modes[way], f"the teacher of {way} went into {mode} mode"
        answer({"images": int(epochs) * len(data), "seconds": seconds})


def answer(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


def count_parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def synthetic_cifar100(file: Path, pad: int) -> Dataset:
    """torchvision's own CIFAR-100, augmented as in torchdistill's examples, but with the images and labels of `file`."""
    torchvision = import_torchvision()
    from torchvision import transforms

    with np.load(file) as arrays:
        images, labels = arrays["images"], arrays["labels"]
        mean, std = (arrays[name] / 255 for name in ("mean", "std"))

    class SyntheticCifar100(torchvision.datasets.CIFAR100):
        def __init__(self, transform: Any) -> None:
            torchvision.datasets.VisionDataset.__init__(self, "", transform=transform)
            self.data, self.targets = np.ascontiguousarray(images.transpose(0, 2, 3, 1)), labels.tolist()

    steps = [
        transforms.RandomCrop(images.shape[-1], padding=pad),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(mean.tolist(), std.tolist()),
    ]
    return SyntheticCifar100(transforms.Compose(steps))


def make_box(data: Dataset, settings: dict[str, Any], device: torch.device, workers: int) -> Any:
    """What its example script makes of a configuration file for knowledge distillation, with fresh networks."""
    import_torchvision()
    from torchdistill.core.distillation import get_distillation_box
    from torchdistill.models.classification import resnet

    torch.manual_seed(0)
    teacher, student = (
        getattr(resnet, settings[who])(num_classes=settings["classes"]).to(device) for who in ("teacher", "student")
    )
    logits = {f"{who}_module_{what}": name for who in ("student", "teacher") for what, name in (("path", "."), ("io", "output"))}
    loss = {
        "key": "KDLoss",
        "kwargs": {**logits, "temperature": settings["temperature"], "alpha": settings["label_weight"], "reduction": "batchmean"},
    }
    configuration = {
        "num_epochs": 1,
        "train_data_loader": {
            "dataset_id": TRAIN,
            "sampler": {"class_or_func": RandomSampler, "kwargs": None},
            "kwargs": {
                "batch_size": settings["batch_size"],
                "num_workers": workers,
                "pin_memory": device.type == "cuda",
                "drop_last": False,
                # Its examples start their workers in each epoch; with epochs as short as here that would be unfair.
                "persistent_workers": workers > 0,
            },
        },
        "teacher": {"forward_proc": "forward_batch_only", "sequential": [], "wrapper": None, "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only", "sequential": [], "wrapper": None, "requires_grad": True},
        "optimizer": {
            "key": "SGD",
            "kwargs": {
                "lr": settings["learning_rate"],
                "momentum": settings["momentum"],
                "weight_decay": settings["weight_decay"],
            },
        },
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": {"criterion": loss, "weight": 1.0}}}},
    }
    return get_distillation_box(teacher, student, {TRAIN: data}, configuration, device, None, False, 1)


def probe(box: Any, device: torch.device) -> float:
    """Images per second, the best of a few epochs after one that does not count."""
    run(box, device, 1)
    return max(len(box.train_data_loader.dataset) / run(box, device, 1) for _ in range(PROBES))


def run(box: Any, device: torch.device, epochs: int) -> float:
    """Seconds of some epochs of the training loop of its example script, without evaluation and checkpoints."""
    from torchdistill.misc.log import MetricLogger, SmoothedValue

    synchronise(device)
    started = time.monotonic()
    for epoch in range(epochs):
        box.pre_epoch_process(epoch=epoch)
        metrics = MetricLogger(delimiter="  ")
        metrics.add_meter("lr", SmoothedValue(window_size=1, fmt="{value}"))
        metrics.add_meter("img/s", SmoothedValue(window_size=10, fmt="{value}"))
        for images, labels, extra in metrics.log_every(box.train_data_loader, 100, f"Epoch: [{epoch}]"):
            begun = time.time()
            images, labels = images.to(device), labels.to(device)
            loss = box.forward_process(images, labels, extra)
            box.post_forward_process(loss=loss)
            metrics.update(loss=loss.item(), lr=box.optimizer.param_groups[0]["lr"])
            metrics.meters["img/s"].update(images.shape[0] / (time.time() - begun))
            if torch.isnan(loss) or torch.isinf(loss):
                raise ValueError(f"The training loop was broken due to loss = {loss}")
        box.post_epoch_process()
    synchronise(device)
    return time.monotonic() - started


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
