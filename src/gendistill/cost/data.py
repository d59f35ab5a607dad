"""How large a data set is: as its receipt tells, once it is prepared here, else as published."""

import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gendistill.plan.step import Step

# Training and test images (of text: words of the training, validation and test text), and channels.
PUBLISHED: dict[str, tuple[int, ...]] = {
    "cifar10": (50_000, 10_000, 3),
    "cifar100": (50_000, 10_000, 3),
    "svhn": (73_257, 26_032, 3),
    "imagenet": (1_281_167, 50_000, 3),
    "places365": (1_803_460, 36_500, 3),
    "caltech256": (256 * 60, 29_780 - 256 * 60, 3),
    "indoor67": (67 * 80, 67 * 20, 3),
    "food101": (101 * 750, 101 * 250, 3),
    "flowers102": (2 * 1_020, 6_149, 3),
    "cars": (8_144, 8_041, 3),
    "cub200": (5_994, 5_794, 3),
    "pets": (3_680, 3_669, 3),
    "ptb": (929_589, 73_760, 82_430),
    "pydoc": (70_000, 4_000, 4_000),
}
# Images, channels and side of the data sets of which `train_per_class` are for training; 10 classes.
EMBEDDED: dict[str, tuple[int, int, int]] = {"mnist5k": (5_000, 1, 28), "digits8x8": (1_797, 1, 8)}
LABEL_BYTES = 8
# Of an image that stays on disk, the index has the name of its file.
NAME_BYTES = 40
WORD_BYTES = 4


@dataclass(frozen=True)
class Size:
    """One prepared data set.

    Attributes:
        counts: images, or words, of each split.
        shape: (C, H, W); () for text.
        classes: classes, or words of the vocabulary.
        on_disk: whether the images stay in their files.
        file_bytes: of `dataset.safetensors`; of a store of images that is not made yet, of its index only.
        store: the setting `dataset.store`.
    """

    counts: dict[str, int]
    shape: tuple[int, ...]
    classes: int
    on_disk: bool
    file_bytes: int
    store: str | int | None = None

    @property
    def evaluated(self) -> int:
        """Images, or words, that an evaluation looks at: all splits but the training images."""
        return sum(count for split, count in self.counts.items() if split != "train")


def size_of(step: Step) -> Size | None:
    """The size of the data set that a step prepares; None if nothing tells it before that."""
    return _prepared(step) or _published(step)


def _prepared(step: Step) -> Size | None:
    path = Path(step.receipt)
    try:
        receipt = _receipt(path.resolve(), path.stat().st_mtime_ns)
        metrics, file_bytes = receipt["metrics"], receipt["outputs"]["dataset.safetensors"]["bytes"]
        unit = "tokens" if step.kind == "text" else "images"
        counts = {key.removesuffix(f"_{unit}"): int(n) for key, n in metrics.items() if key.endswith(f"_{unit}")}
        counts["train"]  # a data set without is none
        classes = metrics["vocabulary"] if step.kind == "text" else metrics["classes"]
        about = {"on_disk": bool(step.settings.get("on_disk")), "store": step.settings.get("store")}
        return Size(counts, tuple(metrics.get("shape", ())), classes, file_bytes=file_bytes, **about)
    except (OSError, ValueError, KeyError, TypeError):
        return None


@functools.lru_cache(maxsize=1000)
def _receipt(path: Path, changed: int) -> dict[str, Any]:
    return json.loads(path.read_text())


def _published(step: Step) -> Size | None:
    settings = step.settings
    name = settings["_target_"].rpartition(".")[2].partition("_")[2]
    if name in EMBEDDED:
        images, channels, side = EMBEDDED[name]
        train = 10 * settings["train_per_class"]
        per_class = settings.get("test_per_class")
        counts = {"train": train, "test": images - train if per_class is None else 10 * per_class}
        return _images(counts, (channels, side, side), settings)
    if name not in PUBLISHED:
        return None
    if step.kind == "text":
        counts = dict(zip(("train", "validation", "test"), PUBLISHED[name], strict=True))
        return Size(counts, (), settings["vocabulary"], False, WORD_BYTES * sum(counts.values()))
    train, test, channels = PUBLISHED[name]
    counts = {"train": train, "test": test}
    if name == "caltech256":
        counts["train"] = settings["classes"] * settings["train_per_class"]
        counts["test"] = train + test - counts["train"]
    if name == "flowers102":
        counts["train"] = train // 2 * len(settings["train_parts"])
    return _images(counts, (channels, settings["image_size"], settings["image_size"]), settings)


def _images(counts: dict[str, int], shape: tuple[int, ...], settings: dict[str, Any]) -> Size:
    if held := settings["classes"] * settings.get("validation_per_class", 0):
        counts = {"train": counts["train"] - held, "test": counts["test"], "validation": held}
    on_disk = bool(settings.get("on_disk"))
    each = LABEL_BYTES + (NAME_BYTES if on_disk else math.prod(shape))
    return Size(counts, shape, settings["classes"], on_disk, each * sum(counts.values()), settings.get("store"))
