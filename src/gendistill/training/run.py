"""The training step: one patriarch, or one generation, from its spec."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gendistill.data.images import load_images
from gendistill.data.views import ViewSpace, derive_key
from gendistill.errors import SettingError
from gendistill.files import write_bytes
from gendistill.networks.trained import Description, save_network
from gendistill.precision import choose_device, make_deterministic, number_format
from gendistill.targets import instantiate
from gendistill.training.loop import Hooks, Row, evaluate, fit, predict
from gendistill.training.resume import load_resume, save_resume
from gendistill.training.teacher import Teacher, online_teacher, stored_teacher

if TYPE_CHECKING:
    from gendistill.runtime import Runtime


def train_network(settings: dict[str, Any], inputs: dict[str, Path], folder: Path, runtime: "Runtime") -> dict[str, Any]:
    """Train one network and write `model.safetensors`, `logits.safetensors` (of the test images) and `history.csv`.

    Args:
        settings: network, objective, recipe, seed, and generation or member.
        inputs: folders of `dataset`, and for a student of `softlabels` (stored) or `teacher` (online).
        folder: where the results go, and the resume checkpoint.
        runtime: device, threads, progress.

    Returns:
        Last-epoch metrics (the main ones), best-epoch metrics marked as such, and what the computation used.

    Raises:
        UserError: an input is missing or corrupt, or the settings don't fit the data.
        DivergedError: the loss was not finite.
        InterruptedTraining: a stop was requested; the next call resumes.
    """
    make_deterministic()
    device = choose_device(runtime.device)
    recipe, seed = settings["recipe"], settings["seed"]
    generation, member = settings.get("generation", 0), settings.get("member", 0)
    keys = {purpose: derive_key(purpose, seed, generation, member) for purpose in ("initialisation", "order", "views")}
    data = load_images(inputs["dataset"])
    mean, std = data.mean_and_std()
    description = Description(settings["network"], list(data.shape), len(data.classes), mean, std, recipe["precision"])
    torch.manual_seed(keys["initialisation"] % 2**63)
    network = description.build().to(device, memory_format=torch.channels_last)
    splits = {
        split: (torch.from_numpy(data.images[split]).to(device), torch.from_numpy(data.labels[split]).to(device))
        for split in data.images
    }
    teacher = _teacher(inputs, recipe, splits["train"][0], len(data.classes), device)
    hooks = Hooks(
        save=lambda state: save_resume(folder, {"identity": folder.name, **state}),
        stop_requested=runtime.stop_requested,
        progress=runtime.progress,
        log=runtime.log,
        checkpoint_every=runtime.checkpoint_every,
    )
    dtype = str(number_format(recipe["precision"], device)).removeprefix("torch.")
    runtime.log(f"{sum(p.numel() for p in network.parameters()):,} parameters, {dtype} on {device}")
    resume = load_resume(folder, folder.name)
    history = fit(network, description, splits, instantiate(settings["objective"]), teacher, recipe, keys, resume, hooks)
    logits = {split: predict(network, description, images) for split, (images, _) in splits.items()}
    final = {name: value for split in splits for name, value in evaluate(split, logits[split], splits[split][1]).items()}
    history[-1] |= {name: value for name, value in final.items() if not name.startswith("train")}
    save_network(network, description, folder)
    _save_test_logits(logits["test"], splits["test"][1], folder)
    write_bytes(folder / "history.csv", _to_csv(history))
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


def _teacher(
    inputs: dict[str, Path], recipe: dict[str, Any], images: torch.Tensor, classes: int, device: torch.device
) -> Teacher | None:
    if "softlabels" in inputs:
        shape = (len(images), len(ViewSpace(recipe["pad"], recipe["flip"])), classes)
        return stored_teacher(inputs["softlabels"], shape, device)
    if "teacher" in inputs:
        return online_teacher(inputs["teacher"], device)
    return None


def _save_test_logits(logits: torch.Tensor, labels: torch.Tensor, folder: Path) -> None:
    """Write the float32 logits of the plain test images, (N, K), and their labels, int64 (N,), for ensembles."""
    from safetensors.torch import save

    if not logits.isfinite().all():
        raise SettingError("the trained network's outputs are not finite: lower recipe.learning_rate")
    write_bytes(folder / "logits.safetensors", save({"logits": logits, "labels": labels.cpu()}))


def _to_csv(history: list[Row]) -> bytes:
    names = list(dict.fromkeys(name for row in history for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue().encode()
