"""Oxford-IIIT Pet (Parkhi, Vedaldi, Zisserman & Jawahar, Cats and Dogs, CVPR 2012): breeds of cats and dogs, 37 classes."""

from gendistill.data.listed import Copy, fetch_by_command, index_lists, read_table
from gendistill.data.on_disk import FileIndex

# The hashes are torchvision's.
SITE = "https://www.robots.ox.ac.uk/~vgg/data/pets/data/"
ORIGINALS = {
    "images": (f"{SITE}images.tar.gz", "md5", "5c4f3ee8e5d25df40f4fd59a7f44e54c"),
    "annotations": (f"{SITE}annotations.tar.gz", "md5", "95a8c909bbe2e81eed6a22bccdf3f68f"),
}
LISTS = {"train": "annotations/trainval.txt", "test": "annotations/test.txt"}
COUNTS = {"train": 3_680, "test": 3_669}


def index_pets(path: str, image_size: int, classes: int) -> FileIndex:
    """The authors' 3,680 images for training and validation, all for training here, and 3,669 test images. No image is opened.

    A line of a list is an image, its class from 1, its species and its number among the breeds of the species; an image is named
    after its breed, such as Abyssinian_100.

    Args:
        path: the folder; it has annotations/ (trainval.txt, test.txt) and images/.
        image_size: side of the square that networks are fed, in pixels.
        classes: how many classes there must be.

    Raises:
        UserError: a list is missing or not the original, or names absent images.
    """
    copy = Copy(path, f"Put the original there, or download 0.8 GB with: python -m gendistill.data.pets {path}")
    rows = {split: read_table(copy, name, str, int, int, int) for split, name in LISTS.items()}
    breeds = {label: image.rpartition("_")[0] for part in rows.values() for image, label, *_ in part}
    images = {split: [(f"images/{image}.jpg", label - 1) for image, label, *_ in part] for split, part in rows.items()}
    return index_lists(copy, images, COUNTS, [breeds[label] for label in sorted(breeds)], image_size, classes)


if __name__ == "__main__":
    fetch_by_command(ORIGINALS)
