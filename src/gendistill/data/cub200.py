"""CUB-200-2011 (Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, 2011): birds of 200 species."""

from gendistill.data.listed import Copy, fetch_by_command, index_lists, read_table
from gendistill.data.on_disk import FileIndex

# The hash is that of TensorFlow Datasets 4.9.10 for this address.
URL = "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz"
ORIGINALS = {"CUB_200_2011": (URL, "sha256", "0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081")}
COUNTS = {"train": 5_994, "test": 5_794}


def index_cub200(path: str, image_size: int, classes: int) -> FileIndex:
    """The authors' split into 5,994 training and 5,794 test images of 200 classes; boxes are not used. No image is opened.

    Args:
        path: the folder; it has CUB_200_2011/ with images.txt, image_class_labels.txt, train_test_split.txt (1: training),
            classes.txt and images/.
        image_size: side of the square that networks are fed, in pixels.
        classes: how many classes there must be.

    Raises:
        UserError: a list is missing or not the original, or names absent images.
    """
    copy = Copy(path, f"Put the original there, or download 1.2 GB with: python -m gendistill.data.cub200 {path}")
    files = dict(read_table(copy, "CUB_200_2011/images.txt", int, str))
    labels = dict(read_table(copy, "CUB_200_2011/image_class_labels.txt", int, int))
    in_train = dict(read_table(copy, "CUB_200_2011/train_test_split.txt", int, int))
    names = dict(read_table(copy, "CUB_200_2011/classes.txt", int, str))
    if not files.keys() == labels.keys() == in_train.keys():
        raise copy.refused("images.txt, image_class_labels.txt and train_test_split.txt number other images.")
    images = {
        split: [(f"CUB_200_2011/images/{files[i]}", labels[i] - 1) for i in sorted(files) if in_train[i] == flag]
        for split, flag in (("train", 1), ("test", 0))
    }
    return index_lists(copy, images, COUNTS, [names[i] for i in sorted(names)], image_size, classes)


if __name__ == "__main__":
    fetch_by_command(ORIGINALS)
