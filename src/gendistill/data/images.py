"""Image data sets in memory, and the one prepared file that every later step reads."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gendistill.errors import UserError
from gendistill.files import verified, write_bytes

FILE = "dataset.safetensors"
# Images; counting takes 8 bytes a pixel.
COUNTED_AT_ONCE = 1000


@dataclass(frozen=True)
class Images:
    """An image data set.

    Attributes:
        images: for each of the splits `train`, `test` and, if asked for, `validation`: uint8, shape (N, C, H, W).
        labels: for each split: int64, shape (N,), values in 0 .. len(classes) - 1.
        classes: the names of the classes.
        superclass_of: the superclass of each class, or empty.
        superclasses: the names of the superclasses, or empty.
    """

    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    classes: list[str]
    superclass_of: list[int]
    superclasses: list[str]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self.images["train"].shape[1:]

    def mean_and_std(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel over the training images, in units of pixel values (0 to 255)."""
        values, counts = np.arange(256), np.zeros((self.shape[0], 256), np.int64)
        # How often each value occurs is exact, and takes no memory, where squares of all pixels would take 8 times the images'.
        for first in range(0, len(self.images["train"]), COUNTED_AT_ONCE):
            for channel, pixels in enumerate(self.images["train"][first : first + COUNTED_AT_ONCE].swapaxes(0, 1)):
                counts[channel] += np.bincount(pixels.reshape(-1), minlength=256)
        total = counts.sum(axis=1)
        mean = counts @ values / total
        variance = (counts * (values - mean[:, None]) ** 2).sum(axis=1) / total
        return mean.tolist(), np.maximum(np.sqrt(variance), 1e-6).tolist()


def check_images(data: Images, image_size: int | None) -> None:
    """Check that a data set can be trained on.

    Raises:
        UserError: shapes or types are off, a class has no images, or the images have another size than was set.
    """
    for split, images in data.images.items():
        labels = data.labels[split]
        if images.dtype != np.uint8 or images.ndim != 4:
            raise UserError(f"{split}_images: must be uint8 of shape (N, C, H, W), got {images.dtype} of shape {images.shape}")
        if 0 in images.shape[1:]:
            raise UserError(f"{split}_images have no pixels: their shape is {images.shape}")
        if images.shape[1:] != data.shape:
            raise UserError(f"{split}_images have shape {images.shape[1:]}, but train_images {data.shape}")
        if len(images) != len(labels):
            raise UserError(f"{split}: {len(images)} images, but {len(labels)} labels")
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(data.classes):
            raise UserError(f"{split}_labels: must lie in 0 .. {len(data.classes) - 1}, got {labels.min()} .. {labels.max()}")
        counts = np.bincount(labels, minlength=len(data.classes))
        if split != "validation" and (counts == 0).any():
            empty = ", ".join(data.classes[i] for i in np.flatnonzero(counts == 0)[:5])
            raise UserError(f"{split}: no images of class {empty}. Each class needs images in train and in test.")
    if image_size is not None and data.shape[1:] != (image_size, image_size):
        height, width = data.shape[1:]
        raise UserError(f"dataset.image_size = {image_size}, but the images are {height}x{width}. Set it to null, or resize them.")


def draw_per_class(labels: np.ndarray, per_class: int, seed: int, what: str) -> np.ndarray:
    """Draw `per_class` images of each class.

    Returns:
        Sorted positions of the drawn images, int64, shape (classes * per_class,).

    Raises:
        UserError: a class has too few images to leave at least one.
    """
    drawn = []
    for label in np.unique(labels):
        positions = np.flatnonzero(labels == label)
        if len(positions) <= per_class:
            raise UserError(f"{what} = {per_class}: class {label} has only {len(positions)} images, and one at least must be left.")
        # Raw 64-bit draws are the same in every NumPy, unlike permutation().
        raw = np.random.Philox(key=seed, counter=[0, 0, int(label), 0]).random_raw(len(positions))
        drawn.append(positions[np.argsort(raw, kind="stable")[:per_class]])
    return np.sort(np.concatenate(drawn))


def hold_out_validation(data: Images, per_class: int, seed: int) -> Images:
    """`data` with `per_class` training images of each class moved to the split `validation`."""
    if per_class == 0:
        return data
    held = draw_per_class(data.labels["train"], per_class, seed, "dataset.validation_per_class")
    kept = np.setdiff1d(np.arange(len(data.labels["train"])), held)
    images, labels = dict(data.images), dict(data.labels)
    for parts in (images, labels):
        parts["train"], parts["validation"] = parts["train"][kept], parts["train"][held]
    return replace(data, images=images, labels=labels)


def save_images(data: Images, folder: Path) -> None:
    """Write a data set as one safetensors file."""
    from safetensors.numpy import save

    arrays = {
        f"{split}_{kind}": np.ascontiguousarray(part)
        for kind in ("images", "labels")
        for split, part in getattr(data, kind).items()
    }
    # One entry: the order of several would differ from run to run.
    names = {"classes": data.classes, "superclass_of": data.superclass_of, "superclasses": data.superclasses}
    write_bytes(folder / FILE, save(arrays, metadata={"names": json.dumps(names)}))


def load_images(folder: Path) -> Images:
    """Read the data set that `save_images` wrote, memory-mapped.

    Raises:
        UserError: the file is missing or corrupt.
    """
    from safetensors import safe_open

    with safe_open(verified(folder / FILE), framework="numpy") as file:
        names = json.loads(file.metadata()["names"])
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    parts = {kind: {k.rpartition("_")[0]: v for k, v in arrays.items() if k.endswith(kind)} for kind in ("images", "labels")}
    return Images(**parts, **names)


def is_index(folder: Path) -> bool:
    """Whether a dataset step wrote an index, not pixels; false if its file is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / FILE, framework="numpy") as file:
            return "index" in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False
