"""A user's own images: a folder of classes, or arrays in an .npz file."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from gendistill.data.decode import unreadable
from gendistill.data.images import Images
from gendistill.errors import SettingError, UserError


def load_folder(path: str, image_size: int | None) -> Images:
    """Images in PATH/train/CLASS/ and PATH/test/CLASS/, as RGB, resized to a square of `image_size` pixels.

    Raises:
        SettingError: no image size is set.
        UserError: a split or a class is missing or empty, or a file is no image.
    """
    from PIL import Image

    if image_size is None:
        raise SettingError("dataset.image_size = null: a folder of images needs one size for all. Set it to the side in pixels.")
    root = Path(path)
    for split in ("train", "test"):
        if not (root / split).is_dir():
            raise UserError(
                f"dataset.path = {path}: there must be folders {path}/train and {path}/test, with one folder per class."
            )
    classes = sorted(p.name for p in (root / "train").iterdir() if p.is_dir())
    others = sorted(p.name for p in (root / "test").iterdir() if p.is_dir())
    if not classes or classes != others:
        odd = ", ".join(sorted(set(classes) ^ set(others))[:5]) or "none at all"
        raise UserError(f"dataset.path = {path}: train and test must have the same class folders; they differ in: {odd}.")
    images: dict[str, np.ndarray] = {}
    labels: dict[str, np.ndarray] = {}
    for split in ("train", "test"):
        files = [(f, y) for y, name in enumerate(classes) for f in sorted((root / split / name).iterdir()) if not f.is_dir()]
        images[split] = np.empty((len(files), 3, image_size, image_size), np.uint8)
        labels[split] = np.array([y for _, y in files], np.int64)
        for i, (file, _) in enumerate(files):
            try:
                with Image.open(file) as image:
                    rgb = image.convert("RGB")
            except Exception as error:  # Pillow's decoders raise errors of any kind for damaged files
                raise unreadable(file, error) from error
            if rgb.size != (image_size, image_size):
                rgb = rgb.resize((image_size, image_size), Image.Resampling.BILINEAR)
            images[split][i] = np.asarray(rgb).transpose(2, 0, 1)
    return Images(images, labels, classes, [], [])


def load_npz(path: str, image_size: int | None) -> Images:
    """Arrays `train_images`, `train_labels`, `test_images`, `test_labels`; optionally `classes`, `superclasses` and
    `train_superclasses`. Images are uint8 of shape (N, H, W) or (N, H, W, C).

    Raises:
        UserError: the file is not there, cannot be read, holds Python objects, or lacks an array.
    """
    if not Path(path).exists():
        raise UserError(f"dataset.path = {path}: there is no such file.")
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no zip archive")
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: array for key in file.files if isinstance(array := file[key], np.ndarray)}
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"dataset.path = {path}: not a readable .npz file of plain arrays: {error}") from error
    missing = [f"{split}_{kind}" for split in ("train", "test") for kind in ("images", "labels") if f"{split}_{kind}" not in arrays]
    if missing:
        raise UserError(f"dataset.path = {path}: lacks the arrays {', '.join(missing)}; it has {', '.join(arrays)}.")
    images = {split: _channels_first(arrays[f"{split}_images"], f"{split}_images") for split in ("train", "test")}
    labels = {split: _integers(arrays, f"{split}_labels", len(images[split])) for split in ("train", "test")}
    classes = _names(arrays, "classes") if "classes" in arrays else _numbers(labels)
    superclasses = _names(arrays, "superclasses") if "superclasses" in arrays else []
    superclass_of = []
    if "train_superclasses" in arrays:
        superclass_of = _superclass_of(labels["train"], _integers(arrays, "train_superclasses", len(images["train"])), len(classes))
        if max(superclass_of, default=0) >= len(superclasses):
            raise UserError(f"superclasses: has {len(superclasses)} names, but train_superclasses goes to {max(superclass_of)}.")
    return Images(images, labels, classes, superclass_of, superclasses)


def _integers(arrays: dict[str, np.ndarray], name: str, count: int) -> np.ndarray:
    array = arrays[name]
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise UserError(f"{name}: must be integers of shape (N,), got {array.dtype} of shape {array.shape}.")
    if len(array) != count:
        raise UserError(f"{name}: there are {count} images, but {len(array)} labels.")
    return array.astype(np.int64)


def _names(arrays: dict[str, np.ndarray], name: str) -> list[str]:
    if arrays[name].ndim != 1:
        raise UserError(f"{name}: must be a list of names, got an array of shape {arrays[name].shape}.")
    return [str(item) for item in arrays[name]]


def _numbers(labels: dict[str, np.ndarray]) -> list[str]:
    """The classes 0, 1, ... up to the largest label: no more than there are training images, since each class needs one."""
    count = len(labels["train"])
    if not count:
        raise UserError("train: no images.")
    for split, part in labels.items():
        if part.max(initial=0) >= count:
            raise UserError(
                f"{split}_labels: the largest is {part.max()}, but there are only {count} training images, one a class at least."
            )
    return [str(number) for number in range(int(max(part.max(initial=0) for part in labels.values())) + 1)]


def _superclass_of(labels: np.ndarray, superclasses: np.ndarray, classes: int) -> list[int]:
    """The superclass of each class, from those of its images; -1 for a class without images."""
    found = [-1] * classes
    for label, superclass in np.unique(np.stack([labels, superclasses], axis=1), axis=0).tolist():
        if found[label] not in (-1, superclass):
            raise UserError(f"train_superclasses: class {label} has images of superclasses {found[label]} and {superclass}.")
        found[label] = superclass
    return found


def _channels_first(images: np.ndarray, name: str) -> np.ndarray:
    if images.ndim not in (3, 4) or images.dtype != np.uint8:
        raise UserError(f"{name}: must be uint8 of shape (N, H, W) or (N, H, W, C), got {images.dtype} of shape {images.shape}.")
    return images[:, None] if images.ndim == 3 else np.ascontiguousarray(images.transpose(0, 3, 1, 2))
