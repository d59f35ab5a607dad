"""Caltech-256 (Griffin, Holub & Perona, 2007): objects of 256 classes, for transfer (TT Table 6)."""

from pathlib import Path

import numpy as np

from gendistill.data.decode import centre_view
from gendistill.data.download import DOWNLOADS, download, image_members, open_archive
from gendistill.data.images import Images, draw_per_class
from gendistill.errors import UserError

URL = "https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar"
MD5 = "67b4f42ca05d46448c6bb8ecd2220f6d"
CLASSES = 256
CLUTTER = "257.clutter"


def load_caltech256(image_size: int, train_per_class: int, split_seed: int, root: Path = DOWNLOADS) -> Images:
    """29,780 images of 256 classes, as RGB, the shorter side resized and the central square cut out.

    The 257th class, clutter, is left out: TT speaks of 256 classes. `train_per_class` images of each class, drawn by
    `split_seed`, are the training set (60 in TT), all others the test set; the split depends on nothing else, so it is the
    same for all networks. The images are read out of the archive, which is not unpacked.

    Raises:
        UserError: the archive cannot be downloaded, has a wrong hash, lacks a class, or a class has too few images.
    """
    path = download(URL, root / "caltech256" / "256_ObjectCategories.tar", "md5", MD5)
    with open_archive(path) as archive:
        members = image_members(archive, "256_ObjectCategories")
        members = {name: member for name, member in members.items() if not name.startswith(CLUTTER)}
        classes = sorted({name.split("/")[0] for name in members})
        if len(classes) != CLASSES:
            raise UserError(f"{path}: must hold {CLASSES} classes besides {CLUTTER}, has {len(classes)}. Put the original there.")
        number = {name: i for i, name in enumerate(classes)}
        names = list(members)
        labels = np.array([number[name.split("/")[0]] for name in names], np.int64)
        train = draw_per_class(labels, train_per_class, split_seed, "dataset.train_per_class")
        parts = {"train": train, "test": np.setdiff1d(np.arange(len(labels)), train)}
        images = {}
        for split, part in parts.items():
            images[split] = np.empty((len(part), 3, image_size, image_size), np.uint8)
            for i, position in enumerate(part):
                file = archive.extractfile(members[names[position]])
                images[split][i] = centre_view(file, image_size, f"{names[position]} in {path}").transpose(2, 0, 1)
    return Images(images, {split: labels[part] for split, part in parts.items()}, classes, [], [])
