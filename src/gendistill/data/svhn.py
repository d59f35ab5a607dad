"""SVHN (Netzer et al., 2011): house numbers of street views, downloaded and checked by hash."""

from pathlib import Path

import numpy as np

from gendistill.data.download import DOWNLOADS, download
from gendistill.data.images import Images
from gendistill.data.torchvision_import import import_torchvision


def load_svhn(image_size: int, root: Path = DOWNLOADS) -> Images:
    """73,257 training and 26,032 test digits, 3x32x32, classes 0 to 9; the 531,131 digits of the part `extra` are not used.

    Raises:
        UserError: a file cannot be downloaded, or has a wrong hash.
    """
    dataset = import_torchvision().datasets.SVHN
    folder = root / "svhn"
    images, labels = {}, {}
    for split in ("train", "test"):
        url, name, md5 = dataset.split_list[split]
        download(url, folder / name, "md5", md5)
        # In the file the digit 0 has the label 10; torchvision makes it 0.
        part = dataset(str(folder), split=split)
        images[split], labels[split] = np.ascontiguousarray(part.data), part.labels
    return Images(images, labels, [str(digit) for digit in range(10)], [], [])
