"""Oxford Flowers 102 (Nilsback & Zisserman, Automated Flower Classification over a Large Number of Classes, 2008)."""

import hashlib
from pathlib import Path

from gendistill.data.listed import Copy, fetch_by_command, index_lists, read_mat
from gendistill.data.on_disk import FileIndex

# The hashes are torchvision's.
SITE = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
ORIGINALS = {
    "jpg": (f"{SITE}102flowers.tgz", "md5", "52808999861908f626f3c1f4e79d11fa"),
    "imagelabels.mat": (f"{SITE}imagelabels.mat", "md5", "e0620be6f572b9609742df49c70aed4d"),
    "setid.mat": (f"{SITE}setid.mat", "md5", "a5357ecc9cb78c4bef273ce3793fc85c"),
}
COUNTS = {"trnid": 1_020, "valid": 1_020, "tstid": 6_149}


def index_flowers102(path: str, image_size: int, train_parts: list[str], classes: int) -> FileIndex:
    """Images of 102 classes, of which the authors have 1,020 for training, 1,020 for validation and 6,149 for testing.

    Images and classes are numbered from 1; the files do not name the classes. No image is opened.

    Args:
        path: the folder; it has setid.mat, imagelabels.mat and jpg/.
        image_size: side of the square that networks are fed, in pixels.
        train_parts: which of the authors' parts are for training: `trnid`, or `trnid` and `valid`. `tstid` is the test set.
        classes: how many classes there must be.

    Raises:
        UserError: a list is missing or not the original, or names absent images.
    """
    copy = Copy(path, f"Put the original there, or download 0.3 GB with: python -m gendistill.data.flowers102 {path}")
    labels = read_mat(copy, "imagelabels.mat", "labels").tolist()
    numbers = {part: read_mat(copy, "setid.mat", part).tolist() for part in COUNTS}
    for name in ("imagelabels.mat", "setid.mat"):
        _, _, md5 = ORIGINALS[name]
        if hashlib.md5((Path(path) / name).read_bytes(), usedforsecurity=False).hexdigest() != md5:
            raise copy.refused(f"{name} is not the original (its MD5 is not {md5}).")
    parts = {"train": train_parts, "test": ["tstid"]}
    images = {
        split: [(f"jpg/image_{i:05}.jpg", labels[i - 1] - 1) for part in chosen for i in numbers[part]]
        for split, chosen in parts.items()
    }
    counts = {split: sum(COUNTS[part] for part in chosen) for split, chosen in parts.items()}
    return index_lists(copy, images, counts, [str(i + 1) for i in range(max(labels))], image_size, classes)


if __name__ == "__main__":
    fetch_by_command(ORIGINALS)
