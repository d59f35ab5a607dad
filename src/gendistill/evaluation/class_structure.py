"""The class structure step: how a network places classes of one superclass, and which class it thinks of second."""

import csv
import io
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gendistill.data.images import Images, is_index, load_images
from gendistill.data.superclasses import apply_superclasses
from gendistill.errors import UserError
from gendistill.files import write_bytes
from gendistill.networks.trained import features_of, in_batches, load_network, logits_of
from gendistill.precision import choose_device, make_deterministic

if TYPE_CHECKING:
    from gendistill.runtime import Runtime

FILE = "second_classes.csv"
SPLITS = ("train", "test")


def evaluate_class_structure(settings: dict[str, Any], inputs: dict[str, Path], folder: Path, runtime: "Runtime") -> dict[str, Any]:
    """DistC and DistS (TT Table 2) and the confusion matrix of second classes (TT Figure 1), on plain images.

    Writes `second_classes.csv`: a row for each true class and a column for each second class of the training images, on which
    students learn from this network; each row is shares that sum to 1. The classes are ordered by superclass.

    Args:
        settings: `superclasses`: the classes of each superclass, or none where the data set has its own.
        inputs: folders of the `dataset` and of the `network`.
        folder: of the step.
        runtime: device, log.

    Returns:
        For the training and the test images: `dist_c_...` and `dist_s_...` in radians, see `class_distances`;
        `second_class_in_superclass_..._pct`: the share of images whose second class is of the superclass of the label.

    Raises:
        UserError: an input is missing or corrupt, or the data set has no superclasses that can be compared.
    """
    make_deterministic()
    device = choose_device(runtime.device)
    if is_index(inputs["dataset"]):
        raise UserError("class_structure needs superclasses, and a data set whose images stay on disk has none. Leave it out.")
    data = load_images(inputs["dataset"])
    if settings.get("superclasses"):
        data = apply_superclasses(data, settings["superclasses"])
    check_superclasses(data)
    superclass_of = np.array(data.superclass_of)
    network, description = load_network(inputs["network"], device)
    metrics = {}
    for split in SPLITS:
        images, labels = torch.from_numpy(data.images[split]), data.labels[split]
        features = in_batches(partial(features_of, network, description), images, device).double().numpy()
        second = second_classes(in_batches(partial(logits_of, network, description), images, device).numpy(), labels)
        distances = class_distances(features, labels, superclass_of)
        hits = superclass_of[second] == superclass_of[labels]
        found = {
            **{f"{name}_{split}": value for name, value in distances.items()},
            f"second_class_in_superclass_{split}_pct": 100 * float(hits.mean()),
        }
        runtime.log("  ".join(f"{name} {value:.4g}" for name, value in found.items()))
        metrics.update(found)
        if split == "train":
            write_shares(folder / FILE, confusion(labels, second, len(data.classes)), data)
    return metrics


def check_superclasses(data: Images) -> None:
    """Check that a data set has what DistC and DistS compare.

    Raises:
        UserError: there are no superclasses, or only one, or none with two classes.
    """
    if not data.superclasses:
        raise UserError(
            "the data set has no superclasses, and class_structure compares classes within them. Set dataset.superclasses to "
            "the path of a YAML file, such as config/superclasses/cifar100.yaml, or leave class_structure out of the experiment."
        )
    if len(data.superclasses) < 2 or len(data.classes) == len(set(data.superclass_of)):
        raise UserError(
            f"dataset.superclasses: class_structure needs two superclasses or more, and in one of them two classes or more; the "
            f"data set has {len(data.classes)} classes in {len(data.superclasses)}. Change the YAML file that it names."
        )


def class_distances(features: np.ndarray, labels: np.ndarray, superclass_of: np.ndarray) -> dict[str, float]:
    """DistC and DistS of penultimate features (TT Table 2): mean angles in radians, by arccos of the cosine.

    `dist_c`: between the centre of a class and that of its superclass; `dist_s`: between the centre of a superclass and that
    of all images. A centre is a mean feature.

    This is our reading: the paper's definitions were not available. What speaks for it is Table 2. There both angles are
    smaller on test than on training images, in all rows, so they are between centres: angles of single images to their centres
    grow. With label smoothing, which places all classes alike, DistC is the larger one; with TSD it shrinks and DistS grows.
    Angles between two classes of a superclass, and between two superclasses, behave alike, but are half as large again:
    a ResNet-20, shortly trained on a part of CIFAR-100, has 0.35 and 0.47 by centres and 0.55 and 0.68 by pairs; the baseline of
    Table 2 has 0.38 and 0.42.

    Args:
        features: float64 (N, F); 64-d and average-pooled in TT.
        labels: int64 (N,), each class at least once.
        superclass_of: the superclass of each class, int64 (K,), each superclass at least once.

    Returns:
        `dist_c`, the mean over classes, and `dist_s`, the mean over superclasses.
    """
    classes = centres(features, labels, len(superclass_of))
    superclasses = centres(features, superclass_of[labels], superclass_of.max() + 1)
    return {
        "dist_c": float(angles(classes, superclasses[superclass_of]).mean()),
        "dist_s": float(angles(superclasses, features.mean(axis=0)).mean()),
    }


def centres(features: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """The mean feature of each group: float64 (N, F) and int64 (N,) -> (count, F)."""
    return np.stack([features[groups == group].mean(axis=0) for group in range(count)])


def angles(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Angles in radians: float64 (M, F) and (M, F) or (F,) -> (M,). A vector of zeros is at a right angle to all."""
    lengths = np.linalg.norm(vectors, axis=-1) * np.linalg.norm(others, axis=-1)
    cosines = (vectors * others).sum(axis=-1) / np.where(lengths > 0, lengths, 1)
    return np.arccos(np.clip(cosines, -1, 1))


def second_classes(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The most probable class besides the label: float (N, K) and int64 (N,) -> int64 (N,).

    For an image that is classified right this is the class ranked second; for another it is the wrong class ranked first.
    So every image counts, and none has its label as its second class.
    """
    others = logits.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return others.argmax(axis=1)


def confusion(labels: np.ndarray, second: np.ndarray, classes: int) -> np.ndarray:
    """The share of each second class among the images of each class: int64 (N,) twice -> float64 (K, K), label first."""
    counts = np.zeros((classes, classes))
    np.add.at(counts, (labels, second), 1)
    return counts / counts.sum(axis=1, keepdims=True)


def write_shares(path: Path, shares: np.ndarray, data: Images) -> None:
    """Write a (K, K) matrix as CSV with the names of the classes, which are ordered by superclass, then as in the data set."""
    order = np.argsort(data.superclass_of, kind="stable")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", *(data.classes[k] for k in order)])
    for k in order:
        writer.writerow([data.classes[k], *(f"{share:.6g}" for share in shares[k, order])])
    write_bytes(path, text.getvalue().encode())
