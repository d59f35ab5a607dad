"""A handful of tiny images and a training step on them, for tests."""

import csv
import hashlib
import itertools
import json
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file

from gendistill.data.images import Images, save_images
from gendistill.runtime import Runtime
from gendistill.softlabels.dump import dump_soft_labels
from gendistill.training import run

CLASSES, PER_CLASS, BATCH, STEPS, EPOCHS, PAD = 3, 9, 7, 4, 3, 2
COUNT = CLASSES * PER_CLASS
NETWORK = {"name": "resnet8", "_target_": "gendistill.networks.resnet.ResNet", "depth": 8, "shortcut": "A", "width": 4}
RECIPE = {
    "name": "tiny",
    "epochs": EPOCHS,
    "batch_size": BATCH,
    "learning_rate": 0.05,
    "schedule": "cosine",
    "milestones": [0.3, 0.6],
    "factor": 0.2,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 5e-3,
    "pad": PAD,
    "flip": True,
    "precision": "float32",
    "evaluate_every": 2,
}
FROM_LABELS = {"name": "cross_entropy", "_target_": "gendistill.objectives.cross_entropy.loss", "trains": "patriarch"}
FROM_TEACHER = {
    "name": "ban",
    "_target_": "gendistill.objectives.ban.loss",
    "trains": "student",
    "temperature": 1.0,
    "temperature_squared": True,
}
FILES = ("model.safetensors", "logits.safetensors")
FROZEN = {"learning_rate": 1e-30, "weight_decay": 0.0, "epochs": 1}  # weights stay as they were initialised


def write_receipt(folder, *names):
    outputs = {name: {"sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()} for name in names}
    (folder / "receipt.json").write_text(json.dumps({"outputs": outputs}))


def tiny_images():
    """Dark noise, with a bright corner that tells the class."""
    generator = np.random.default_rng(0)
    images, labels = {}, {}
    for split, per_class in (("train", PER_CLASS), ("test", 4)):
        labels[split] = np.tile(np.arange(CLASSES), per_class)
        images[split] = generator.integers(0, 100, size=(len(labels[split]), 1, 8, 8), dtype=np.uint8)
        for image, label in zip(images[split], labels[split], strict=True):
            image[:, 4 * (label // 2) :, 4 * (label % 2) :][:, :4, :4] += 120
    return Images(images, labels, ["a", "b", "c"], [], [])


def train(folder, dataset, objective=FROM_LABELS, recipe=None, runtime=None, inputs=None, **numbers):
    settings = {"network": NETWORK, "objective": objective, "recipe": {**RECIPE, **(recipe or {})}, "seed": 0, **numbers}
    return run.train_network(settings, {"dataset": dataset, **(inputs or {})}, folder, runtime or Runtime("cpu"))


def spec_of(name, kind="patriarch", **recipe):
    """The spec of a training on the data set `tiny`, with other values in its recipe, for the command line."""
    settings = {"network": NETWORK, "objective": FROM_LABELS, "recipe": {**RECIPE, **recipe}, "seed": 0}
    return {"kind": kind, "id": name, "settings": settings, "code": {}, "inputs": {"dataset": "dataset/tiny"}, "source": {}}


def weights(folder):
    return load_file(folder / "model.safetensors")


def read_history(folder):
    with open(folder / "history.csv", newline="") as file:
        return [{name: value for name, value in row.items() if name != "images_per_second"} for row in csv.DictReader(file)]


def assert_same_bits(folder, other):
    for name in FILES:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name
    assert read_history(folder) == read_history(other)


@contextmanager
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_dataset(folder):
    save_images(tiny_images(), folder)
    write_receipt(folder, "dataset.safetensors")
    return folder


def write_teacher(folder, dataset):
    """Dump the soft labels of a finished training beside its folder; return both as the inputs of a student."""
    write_receipt(folder, *FILES)
    store = folder.parent / "softlabels"
    settings = {"pad": PAD, "flip": True, "precision": "float32"}
    dump_soft_labels(settings, {"dataset": dataset, "teacher": folder}, store, Runtime("cpu"))
    write_receipt(store, "softlabels.npy")
    return {"teacher": folder, "softlabels": store}


def stop_at(call):
    """A `stop_requested` that is true the `call`-th time it is asked, from 0; it is asked once before each step."""
    calls = itertools.count()
    return Runtime("cpu", stop_requested=lambda: next(calls) == call)


def replace_loss(loss, monkeypatch):
    """Let the objective `cross_entropy` be another function, for this test; when it is tried before training, it is as before."""
    fit_objective, trying = run.fit_objective, []

    def fit(*arguments):
        trying.append(True)
        fitted = fit_objective(*arguments)
        trying.clear()
        return fitted

    def replaced(logits, labels, teacher_logits=None):
        return F.cross_entropy(logits, labels) if trying else loss(logits, labels, teacher_logits)

    monkeypatch.setattr(run, "fit_objective", fit)
    monkeypatch.setattr(replaced, "__module__", "gendistill.objectives.cross_entropy")
    monkeypatch.setattr("gendistill.objectives.cross_entropy.loss", replaced)
