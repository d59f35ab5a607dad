"""Food-101 (Bossard, Guillaumin & Van Gool, Food-101, ECCV 2014): dishes of 101 classes."""

from gendistill.data.listed import Copy, fetch_by_command, index_lists, read_table
from gendistill.data.on_disk import FileIndex

# The hash is torchvision's.
ORIGINALS = {"food-101": ("http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz", "md5", "85eeb15f3717b99a5da872d97d918f87")}
COUNTS = {"train": 75_750, "test": 25_250}


def index_food101(path: str, image_size: int, classes: int) -> FileIndex:
    """750 training and 250 test images of each of 101 classes, as the authors' lists name them. No image is opened.

    Args:
        path: the folder; it has food-101/meta/ (train.txt, test.txt) and food-101/images/.
        image_size: side of the square that networks are fed, in pixels.
        classes: how many classes there must be.

    Raises:
        UserError: a list is missing or not the original, or names absent images.
    """
    copy = Copy(path, f"Put the original there, or download 5 GB with: python -m gendistill.data.food101 {path}")
    listed = {split: [name for (name,) in read_table(copy, f"food-101/meta/{split}.txt", str)] for split in COUNTS}
    names = sorted({name.split("/")[0] for name in listed["train"] + listed["test"]})
    number = {name: i for i, name in enumerate(names)}
    images = {
        split: [(f"food-101/images/{name}.jpg", number[name.split("/")[0]]) for name in part] for split, part in listed.items()
    }
    return index_lists(copy, images, COUNTS, names, image_size, classes)


if __name__ == "__main__":
    fetch_by_command(ORIGINALS)
