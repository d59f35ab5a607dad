"""A user's own images: a folder of classes, or arrays in an .npz file."""

import zipfile
from pathlib import Path

import numpy as np

from gendistill.data.images import Images
from gendistill.errors import UserError


def load_folder(path: str, image_size: int) -> Images:
    """Images in PATH/train/CLASS/ and PATH/test/CLASS/, as RGB, resized to a square of `image_size` pixels.

    Raises:
        UserError: a split or a class is missing or empty, or a file is no image.
    """
    from PIL import Image, UnidentifiedImageError

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
        files = [(f, y) for y, name in enumerate(classes) for f in sorted((root / split / name).iterdir()) if f.is_file()]
        images[split] = np.empty((len(files), 3, image_size, image_size), np.uint8)
        labels[split] = np.array([y for _, y in files], np.int64)
        for i, (file, _) in enumerate(files):
            try:
                with Image.open(file) as image:
                    rgb = image.convert("RGB")
            except (UnidentifiedImageError, OSError) as error:
                raise UserError(f"{file} is not an image that Pillow can read: {error}. Mend or remove it.") from error
            if rgb.size != (image_size, image_size):
                rgb = rgb.resize((image_size, image_size), Image.Resampling.BILINEAR)
            images[split][i] = np.asarray(rgb).transpose(2, 0, 1)
    return Images(images, labels, classes, [], [])


def load_npz(path: str, image_size: int | None) -> Images:
    """Arrays `train_images`, `train_labels`, `test_images`, `test_labels`; optionally `classes`, `superclasses` and
    `train_superclasses`. Images are uint8 of shape (N, H, W) or (N, H, W, C).

    Raises:
        UserError: the file cannot be read, holds Python objects, or lacks an array.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"dataset.path = {path}: not a readable .npz file of plain arrays: {error}") from error
    missing = [f"{split}_{kind}" for split in ("train", "test") for kind in ("images", "labels") if f"{split}_{kind}" not in arrays]
    if missing:
        raise UserError(f"dataset.path = {path}: lacks the arrays {', '.join(missing)}; it has {', '.join(arrays)}.")
    images = {split: _channels_first(arrays[f"{split}_images"], f"{split}_images") for split in ("train", "test")}
    labels = {split: arrays[f"{split}_labels"].astype(np.int64) for split in ("train", "test")}
    count = int(max(part.max(initial=0) for part in labels.values())) + 1
    classes = [str(name) for name in arrays.get("classes", range(count))]
    superclasses = [str(name) for name in arrays.get("superclasses", [])]
    superclass_of = []
    if "train_superclasses" in arrays:
        first = [np.flatnonzero(labels["train"] == y)[:1] for y in range(len(classes))]
        superclass_of = [int(arrays["train_superclasses"][i[0]]) if len(i) else -1 for i in first]
    return Images(images, labels, classes, superclass_of, superclasses)


def _channels_first(images: np.ndarray, name: str) -> np.ndarray:
    if images.ndim not in (3, 4) or images.dtype != np.uint8:
        raise UserError(f"{name}: must be uint8 of shape (N, H, W) or (N, H, W, C), got {images.dtype} of shape {images.shape}.")
    return images[:, None] if images.ndim == 3 else np.ascontiguousarray(images.transpose(0, 3, 1, 2))
