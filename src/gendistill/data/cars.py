"""Stanford Cars (Krause, Stark, Deng & Fei-Fei, 3D Object Representations for Fine-Grained Categorization, 2013): 196 classes."""

from gendistill.data.listed import Copy, index_lists, read_mat
from gendistill.data.on_disk import FileIndex

# The folder of images and the list of each split, as torchvision has them.
LISTS = {"train": ("cars_train", "devkit/cars_train_annos.mat"), "test": ("cars_test", "cars_test_annos_withlabels.mat")}
COUNTS = {"train": 8_144, "test": 8_041}


def index_cars(path: str, image_size: int, classes: int) -> FileIndex:
    """The authors' split into 8,144 training and 8,041 test images of 196 classes; boxes are not used. No image is opened.

    Args:
        path: the folder; it has what cars_train.tgz, cars_test.tgz and car_devkit.tgz unpack to, cars_train/, cars_test/ and
            devkit/, and cars_test_annos_withlabels.mat.
        image_size: side of the square that networks are fed, in pixels.
        classes: how many classes there must be.

    Raises:
        UserError: a list is missing or not the original, or names absent images.
    """
    copy = Copy(
        path,
        "The authors' site no longer has the data set. Unpack your cars_train.tgz, cars_test.tgz and car_devkit.tgz, so that there "
        f"are {path}/cars_train, {path}/cars_test and {path}/devkit, and put cars_test_annos_withlabels.mat into {path}.",
    )
    names = [str(name) for name in read_mat(copy, "devkit/cars_meta.mat", "class_names")]
    images = {split: _images(copy, folder, name) for split, (folder, name) in LISTS.items()}
    return index_lists(copy, images, COUNTS, names, image_size, classes)


def _images(copy: Copy, folder: str, name: str) -> list[tuple[str, int]]:
    rows = read_mat(copy, name, "annotations")
    if not {"fname", "class"} <= set(rows.dtype.names or ()):
        raise copy.refused(f"annotations in {name} have no fields fname and class; the test images need the file with labels.")
    return [(f"{folder}/{file}", int(label) - 1) for file, label in zip(rows["fname"], rows["class"], strict=True)]
