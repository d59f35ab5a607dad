"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009), downloaded and checked by torchvision."""

import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from gendistill.data.images import Images
from gendistill.data.torchvision_import import import_torchvision
from gendistill.errors import UserError

DOWNLOADS = Path("data")


def load_cifar10(image_size: int, root: Path = DOWNLOADS) -> Images:
    """50,000 training and 10,000 test images, 3x32x32, 10 classes.

    Raises:
        UserError: the archive cannot be downloaded, is truncated, or has a wrong hash.
    """
    return _load(import_torchvision().datasets.CIFAR10, root)


def load_cifar100(image_size: int, root: Path = DOWNLOADS) -> Images:
    """50,000 training and 10,000 test images, 3x32x32, 100 classes.

    Raises:
        UserError: the archive cannot be downloaded, is truncated, or has a wrong hash.
    """
    return _load(import_torchvision().datasets.CIFAR100, root)


def _load(dataset: Any, root: Path) -> Images:
    # The filter refuses members that leave the folder, links and special files (PEP 706).
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    try:
        splits = {split: dataset(str(root), train=split == "train", download=True) for split in ("train", "test")}
    except (RuntimeError, OSError, EOFError, tarfile.TarError) as error:
        archive = root / dataset.filename
        raise UserError(
            f"{dataset.__name__} could not be had from {dataset.url}: {error}. If {archive} exists, it is truncated or not the "
            f"original: remove it and run again. Without a network, put the original archive (MD5 {dataset.tgz_md5}) there."
        ) from error
    return Images(
        images={split: np.ascontiguousarray(d.data.transpose(0, 3, 1, 2)) for split, d in splits.items()},
        labels={split: np.asarray(d.targets, dtype=np.int64) for split, d in splits.items()},
        classes=list(splits["train"].classes),
        superclass_of=[],
        superclasses=[],
    )
