"""MIT Indoor-67 (Quattoni & Torralba, Recognizing Indoor Scenes, CVPR 2009), for transfer (TT Table 6)."""

from pathlib import Path

import numpy as np

from gendistill.data.decode import centre_view
from gendistill.data.download import DOWNLOADS, download, image_members, open_archive
from gendistill.data.images import Images
from gendistill.errors import UserError

# The authors publish no hashes. The archive's is the one in the source of the package vipy; those of the lists are of two
# unrelated public copies that are equal: the GitHub repositories cdoersch/elementdiscovery and harmya/indoor-scene-recognition.
ARCHIVE = ("http://groups.csail.mit.edu/vision/LabelMe/NewImages/indoorCVPR_09.tar", "0b252516e746ba428b96af408d2e8162d9b08ac5")
LISTS = {
    "train": (
        "https://web.mit.edu/torralba/www/TrainImages.txt",
        "7ec85f88735739d8159061e4bcf6a9765aab8606ab444605b3f8e0641be0260e",
    ),
    "test": (
        "https://web.mit.edu/torralba/www/TestImages.txt",
        "906c529a5a0918feec371de5b07a465ddb1f15ebaebc90a33cc321c371133bf1",
    ),
}
CLASSES = 67


def load_indoor67(image_size: int, root: Path = DOWNLOADS) -> Images:
    """5,360 training and 1,340 test images of 67 classes, as RGB, the shorter side resized and the central square cut out.

    The split is that of the authors' lists: 77 to 83 training and 17 to 23 test images a class, 80 and 20 on average; the
    other images of the archive, which holds 15,620, are not used. The images are read out of the archive, which is not
    unpacked; some are GIF or PNG in spite of their name.

    Raises:
        UserError: a file cannot be downloaded or has a wrong hash; the lists name other than 67 classes, or absent images.
    """
    folder = root / "indoor67"
    lists = {}
    for split, (url, sha256) in LISTS.items():
        path = download(url, folder / url.rpartition("/")[2], "sha256", sha256)
        lists[split] = path.read_text(encoding="utf-8").splitlines()
    classes = sorted({name.split("/")[0] for name in lists["train"]})
    url, sha1 = ARCHIVE
    path = download(url, folder / url.rpartition("/")[2], "sha1", sha1)
    with open_archive(path) as archive:
        members = image_members(archive, "Images")
        _check(lists, classes, set(members), folder, path)
        images = {}
        for split, names in lists.items():
            images[split] = np.empty((len(names), 3, image_size, image_size), np.uint8)
            for i, name in enumerate(names):
                file = archive.extractfile(members[name])
                images[split][i] = centre_view(file, image_size, f"{name} in {path}").transpose(2, 0, 1)
    number = {name: i for i, name in enumerate(classes)}
    labels = {split: np.array([number[name.split("/")[0]] for name in names], np.int64) for split, names in lists.items()}
    return Images(images, labels, classes, [], [])


def _check(lists: dict[str, list[str]], classes: list[str], present: set[str], folder: Path, archive: Path) -> None:
    for split, names in lists.items():
        named = sorted({name.split("/")[0] for name in names})
        if named != classes or len(named) != CLASSES:
            raise UserError(f"{folder}: the list of {split} images names {len(named)} classes, there must be the same {CLASSES}.")
        absent = [name for name in names if name not in present]
        if absent:
            raise UserError(
                f"{archive} lacks {len(absent)} of the {len(names)} images that the list of {split} images in {folder} names, "
                f"the first is {absent[0]}. Put the original archive and lists there."
            )
