"""ImageNet (Russakovsky et al., 2015), from the user's own copy: its licence allows no download without registration."""

import os
import sys
from pathlib import Path

import numpy as np

from gendistill.data.on_disk import FileIndex
from gendistill.data.torchvision_import import import_torchvision
from gendistill.errors import UserError

SPLITS = {"train": "train", "test": "val"}
IMAGES = (".jpeg", ".jpg", ".png")
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"


def index_imagenet(path: str, image_size: int, classes: int) -> FileIndex:
    """The images in PATH/train/WNID/ and PATH/val/WNID/ (1,281,167 and 50,000 in ILSVRC 2012); val is the test set, as in the
    papers. Labels number the sorted class folders. No image is opened.

    Args:
        path: the folder.
        image_size: side of the square that networks are fed, in pixels.
        classes: how many classes there must be.

    Raises:
        UserError: a class is missing or empty, there are too many, train and val differ, or val is not sorted into classes.
    """
    root = Path(path)
    names = {split: _class_folders(root, folder) for split, folder in SPLITS.items()}
    for split, other in (("train", "test"), ("test", "train")):
        odd = sorted(set(names[split]) - set(names[other]))
        if odd:
            raise UserError(
                f"dataset.path = {path}: {_some(odd)} in {SPLITS[split]}, but not in {SPLITS[other]}. "
                "Both must have the same class folders."
            )
    if len(names["train"]) != classes:
        raise UserError(
            f"dataset.path = {path}: {len(names['train'])} class folders in train and val, but dataset.classes = {classes}. "
            "Add or remove classes, or set dataset.classes."
        )
    paths: dict[str, list[str]] = {}
    labels: dict[str, np.ndarray] = {}
    for split, folder in SPLITS.items():
        files = [_images(root, f"{folder}/{name}") for name in names[split]]
        empty = [name for name, found in zip(names[split], files, strict=True) if not found]
        if empty:
            raise UserError(f"dataset.path = {path}: no images ({', '.join(IMAGES)}) in {folder} of {_some(empty)}.")
        paths[split] = [file for found in files for file in found]
        labels[split] = np.repeat(np.arange(len(files)), [len(found) for found in files])
    return FileIndex(paths, labels, names["train"], image_size)


def _class_folders(root: Path, folder: str) -> list[str]:
    if not (root / folder).is_dir():
        raise UserError(f"dataset.path = {root}: there is no folder {root / folder}, with one folder per class.")
    with os.scandir(root / folder) as entries:
        kinds = {entry.name: entry.is_dir() for entry in entries}
    flat = [name for name, is_folder in kinds.items() if not is_folder and name.lower().endswith(IMAGES)]
    if flat and folder == "val":
        raise UserError(
            f"dataset.path = {root}: {len(flat)} images lie in {root}/val itself, as in the original archive. Put {DEVKIT}, "
            f"which says their classes, into {root} and run: python -m gendistill.data.imagenet {root}"
        )
    names = sorted(name for name, is_folder in kinds.items() if is_folder)
    if not names:
        raise UserError(f"dataset.path = {root}: there are no class folders in {root / folder}. Unpack the archives there.")
    return names


def _images(root: Path, folder: str) -> list[str]:
    with os.scandir(root / folder) as entries:
        return sorted(f"{folder}/{entry.name}" for entry in entries if entry.name.lower().endswith(IMAGES) and entry.is_file())


def _some(names: list[str]) -> str:
    if len(names) == 1:
        return f"class {names[0]}"
    return f"{len(names)} classes ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"


def sort_validation(path: str) -> int:
    """Move the images that lie in PATH/val itself into class folders, as the original development kit in PATH says.

    Returns:
        How many were moved.

    Raises:
        UserError: the kit is missing or not the original, or an image has a number that it does not know.
    """
    imagenet = import_torchvision().datasets.imagenet
    try:
        imagenet.parse_devkit_archive(path)
        classes = imagenet.load_meta_file(path)[1]
    except (RuntimeError, OSError) as error:
        raise UserError(f"{path}: {error}") from error
    images = sorted(p for p in (Path(path) / "val").iterdir() if p.suffix.lower() in IMAGES and p.is_file())
    for image in images:
        # Names end in the image's number, from 1.
        number = image.stem.rpartition("_")[2]
        if not number.isdecimal() or not 1 <= int(number) <= len(classes):
            raise UserError(f"{image}: the name must end in a number up to {len(classes)}, as in ILSVRC2012_val_00000001.JPEG.")
        folder = image.parent / classes[int(number) - 1]
        folder.mkdir(exist_ok=True)
        image.rename(folder / image.name)
    return len(images)


if __name__ == "__main__":
    try:
        print(f"{sort_validation(sys.argv[1]):,} images moved")
    except UserError as problem:
        sys.exit(str(problem))
