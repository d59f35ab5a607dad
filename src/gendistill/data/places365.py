"""Places365-Standard (Zhou et al., 2018): scenes of 365 classes, in images of 256x256 pixels (EKD Table 9)."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from gendistill.data.download import download, extract
from gendistill.data.on_disk import FileIndex
from gendistill.data.torchvision_import import import_torchvision
from gendistill.errors import UserError

LISTS = {"train": "train-standard", "test": "val"}


def index_places365(path: str, image_size: int, classes: int) -> FileIndex:
    """1,803,460 training images and the 36,500 validation images, which are the test set, as lists with known hashes name them.

    24 GB are not fetched unasked: `python -m gendistill.data.places365 PATH` downloads them (`fetch_places365`). An own copy has
    torchvision's layout: categories_places365.txt, places365_train_standard.txt, places365_val.txt, data_256_standard/ and
    val_256/. No image is opened.

    Args:
        path: the folder.
        image_size: side of the square that networks are fed, in pixels.
        classes: how many classes there must be.

    Raises:
        UserError: a list is missing or not the original, or names absent images.
    """
    dataset = import_torchvision().datasets.Places365
    paths: dict[str, list[str]] = {}
    labels: dict[str, np.ndarray] = {}
    for split, name in LISTS.items():
        try:
            listed: Any = dataset(path, split=name, small=True)
        except (RuntimeError, OSError) as error:
            raise UserError(
                f"dataset.path = {path}: {str(error).partition(' You can set')[0]} Put your copy there, "
                f"or download 24 GB with: python -m gendistill.data.places365 {path}"
            ) from error
        root = os.path.join(listed.root, "")  # noqa: PTH118
        files = [file.removeprefix(root) for file, _ in listed.imgs]
        folders = {file.rpartition("/")[0] for file in files}
        present = {f"{folder}/{name}" for folder in folders for name in _names(Path(path) / folder)}
        absent = [file for file in files if file not in present]
        if absent:
            raise UserError(
                f"dataset.path = {path}: {len(absent):,} of the {len(files):,} images of {name} are missing, the first is "
                f"{Path(path) / absent[0]}. Put all there, or download 24 GB with: python -m gendistill.data.places365 {path}"
            )
        paths[split], labels[split] = files, np.array(listed.targets, np.int64)
    names = [name.removeprefix("/") for name, _ in sorted(listed.class_to_idx.items(), key=lambda item: item[1])]
    if len(names) != classes:
        raise UserError(f"dataset.classes = {classes}: but Places365 has {len(names)} classes.")
    return FileIndex(paths, labels, names, image_size)


def _names(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208


def fetch_places365(path: str) -> None:
    """Download the lists and the small images of train and val, 24 GB, into PATH, and extract them; what is there stays.

    Raises:
        UserError: an archive cannot be downloaded, or has a wrong hash.
    """
    dataset, root = import_torchvision().datasets.Places365, Path(path)
    root.mkdir(parents=True, exist_ok=True)
    train = root / "data_256_standard"
    # The folder in the archive, whose name torchvision completes: there is another training set, challenge.
    unpacked = root / "data_256"
    wanted = {
        root / "categories_places365.txt": dataset._DEVKIT_META["standard"],
        root / "val_256": dataset._IMAGES_META["val", True],
        unpacked: dataset._IMAGES_META["train-standard", True],
    }
    for result, (archive, md5) in wanted.items():
        if not result.exists() and not (result == unpacked and train.exists()):
            extract(download(dataset._BASE_URL + archive, root / archive, "md5", md5), root)
    if not train.exists():
        unpacked.rename(train)


if __name__ == "__main__":
    try:
        fetch_places365(sys.argv[1])
    except UserError as problem:
        sys.exit(str(problem))
