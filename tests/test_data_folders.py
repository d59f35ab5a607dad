"""ImageNet and Places365: what is wrong with a folder is said by name, before a network trains on it."""

import runpy
import shutil
import sys

import numpy as np
import pytest
import torch

from gendistill.data import download as download_module
from gendistill.data import imagenet as imagenet_module
from gendistill.data import places365 as places365_module
from gendistill.data.imagenet import index_imagenet, sort_validation
from gendistill.data.on_disk import FileImages, load_index
from gendistill.data.places365 import fetch_places365, index_places365
from gendistill.data.prepare import prepare_dataset
from gendistill.data.torchvision_import import import_torchvision
from gendistill.errors import UserError
from gendistill.plan.settings import load_group
from gendistill.receipt import write_receipt
from gendistill.runtime import Runtime
from tests.small_archives import encoded, hash_of, picture, served, write_tar

WNIDS = ["n01440764", "n01443537", "n01484850"]


@pytest.fixture
def imagenet(tmp_path):
    """A small copy in the usual layout: 3 classes of 3 training and 2 validation images, and files that are none."""
    root = tmp_path / "imagenet"
    for split, count in (("train", 3), ("val", 2)):
        for name in WNIDS:
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                # No image is opened for an index.
                (root / split / name / f"{name}_{i}.JPEG").write_bytes(b"")
        (root / split / "readme.txt").write_text("")
    (root / "train" / WNIDS[0] / "Thumbs.db").write_bytes(b"")
    return root


def test_imagenet_is_indexed_by_its_sorted_folders(imagenet):
    index = index_imagenet(str(imagenet), 224, 3)
    assert index.classes == WNIDS
    assert index.image_size == 224
    assert index.paths["test"] == [f"val/{name}/{name}_{i}.JPEG" for name in WNIDS for i in range(2)]
    assert index.paths["train"] == [f"train/{name}/{name}_{i}.JPEG" for name in WNIDS for i in range(3)]
    assert index.labels["train"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert index.labels["test"].tolist() == [0, 0, 1, 1, 2, 2]
    assert index.labels["test"].dtype == np.int64


def test_imagenet_is_labelled_as_torchvision_labels_it(imagenet):
    usual = import_torchvision().datasets.ImageFolder(str(imagenet / "val"))
    index = index_imagenet(str(imagenet), 224, 3)
    paths, labels = [f"{imagenet}/{path}" for path in index.paths["test"]], index.labels["test"].tolist()
    assert list(zip(paths, labels, strict=True)) == usual.samples


def test_the_dataset_step_writes_the_index_of_a_folder(imagenet, tmp_path):
    settings = {**load_group("dataset", "imagenet"), "classes": 3, "validation_per_class": 1}
    settings.pop("path")
    metrics = prepare_dataset(settings, {}, tmp_path / "out", Runtime(source={"path": str(imagenet)}))
    write_receipt(tmp_path / "out", {}, ("dataset.safetensors",), metrics, {})
    index = load_index(tmp_path / "out")
    assert {split: len(paths) for split, paths in index.paths.items()} == {"train": 6, "validation": 3, "test": 6}
    assert metrics == {"train_images": 6, "validation_images": 3, "test_images": 6, "classes": 3, "shape": [3, 224, 224]}
    found = index_imagenet(str(imagenet), 224, 3)
    assert sorted(index.paths["train"] + index.paths["validation"]) == sorted(found.paths["train"])


@pytest.mark.parametrize("classes", [2, 4, 1000])
def test_too_many_or_too_few_classes_are_refused(imagenet, classes):
    with pytest.raises(UserError, match=rf"{imagenet}: 3 class folders in train and val, but dataset.classes = {classes}"):
        index_imagenet(str(imagenet), 224, classes)


@pytest.mark.parametrize(("lacking", "other"), [("val", "train"), ("train", "val")])
def test_a_class_that_one_split_lacks_is_named(imagenet, lacking, other):
    shutil.rmtree(imagenet / lacking / WNIDS[1])
    with pytest.raises(UserError, match=rf"class {WNIDS[1]} in {other}, but not in {lacking}"):
        index_imagenet(str(imagenet), 224, 3)


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_empty_class_is_named(imagenet, split):
    for file in (imagenet / split / WNIDS[2]).iterdir():
        file.unlink()
    (imagenet / split / WNIDS[2] / "notes.txt").write_text("")
    with pytest.raises(UserError, match=rf"no images .* in {split} of class {WNIDS[2]}\."):
        index_imagenet(str(imagenet), 224, 3)


def test_missing_folders_are_named(imagenet, tmp_path):
    with pytest.raises(UserError, match=r"there is no folder .*nowhere/train"):
        index_imagenet(str(tmp_path / "nowhere"), 224, 3)
    for name in WNIDS:
        shutil.rmtree(imagenet / "train" / name)
    with pytest.raises(UserError, match=r"no class folders in .*imagenet/train"):
        index_imagenet(str(imagenet), 224, 3)


# The validation images as the original archive has them


def make_flat(root, monkeypatch):
    """Validation images in no folders, and a development kit that says the classes of four."""
    from scipy.io import savemat

    shutil.rmtree(root / "val")
    (root / "val").mkdir()
    for i in (1, 2, 3, 4):
        (root / "val" / f"ILSVRC2012_val_{i:08}.JPEG").write_bytes(bytes([i]))
    fields = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height", "num_train_images")
    rows = [(i + 1, name, f"fish {i}", "", 0, [], 0, 1300) for i, name in enumerate(WNIDS)]
    rows.append((4, "n00015388", "all fish", "", 3, [1, 2, 3], 1, 0))
    synsets = np.array([rows], dtype=[(field, object) for field in fields]).T
    savemat(root / "meta.mat", {"synsets": synsets})
    kit = "ILSVRC2012_devkit_t12"
    truth = b"2\n1\n3\n2\n"
    members = {"meta.mat": (root / "meta.mat").read_bytes(), "ILSVRC2012_validation_ground_truth.txt": truth}
    path = write_tar(root / f"{kit}.tar.gz", {f"{kit}/data/{name}": content for name, content in members.items()}, "w:gz")
    module = import_torchvision().datasets.imagenet
    monkeypatch.setitem(module.ARCHIVE_META, "devkit", (path.name, hash_of(path, "md5")))


def test_flat_validation_images_are_refused_with_the_way_out(imagenet, monkeypatch):
    make_flat(imagenet, monkeypatch)
    message = rf"4 images lie in {imagenet}/val itself.* run: python -m gendistill.data.imagenet {imagenet}$"
    with pytest.raises(UserError, match=message):
        index_imagenet(str(imagenet), 224, 3)


def test_flat_validation_images_are_sorted_by_the_kit(imagenet, monkeypatch):
    make_flat(imagenet, monkeypatch)
    # As after an interruption: one is sorted already.
    (imagenet / "val" / WNIDS[1]).mkdir()
    (imagenet / "val/ILSVRC2012_val_00000001.JPEG").rename(imagenet / "val" / WNIDS[1] / "ILSVRC2012_val_00000001.JPEG")
    assert sort_validation(str(imagenet)) == 3
    found = {p.parent.name: [] for p in imagenet.glob("val/*/*.JPEG")}
    for file in sorted(imagenet.glob("val/*/*.JPEG")):
        found[file.parent.name].append(file.read_bytes()[0])
    assert found == {WNIDS[0]: [2], WNIDS[1]: [1, 4], WNIDS[2]: [3]}
    assert index_imagenet(str(imagenet), 224, 3).labels["test"].tolist() == [0, 1, 1, 2]


def test_the_command_that_the_message_names_sorts(imagenet, monkeypatch, capsys):
    make_flat(imagenet, monkeypatch)
    monkeypatch.setattr(sys, "argv", ["imagenet", str(imagenet)])
    runpy.run_path(imagenet_module.__file__, run_name="__main__")
    assert capsys.readouterr().out == "4 images moved\n"


@pytest.mark.parametrize("name", ["ILSVRC2012_val_00000005.JPEG", "ILSVRC2012_val_00000000.JPEG", "photo.JPEG"])
def test_an_image_that_the_kit_does_not_know_is_named(imagenet, monkeypatch, name):
    make_flat(imagenet, monkeypatch)
    (imagenet / "val" / name).write_bytes(b"")
    with pytest.raises(UserError, match=rf"{name}: the name must end in a number up to 4"):
        sort_validation(str(imagenet))


def test_without_the_kit_nothing_is_moved(imagenet, monkeypatch):
    make_flat(imagenet, monkeypatch)
    (imagenet / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(b"another")
    with pytest.raises(UserError, match=r"ILSVRC2012_devkit_t12.tar.gz is not present .* or is corrupted"):
        sort_validation(str(imagenet))
    assert len(list(imagenet.glob("val/*.JPEG"))) == 4


# Places365


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A site with small archives of the right layout, torchvision's class pointed at it, and the folder to download to."""
    monkeypatch.setattr(download_module, "PAUSE", 0)
    dataset = import_torchvision().datasets.Places365
    lists = {
        "categories_places365.txt": "/a/airfield 0\n/a/apartment_building/outdoor 2\n/b/beach 1\n",
        "places365_train_standard.txt": "/a/airfield/1.jpg 0\n/b/beach/1.jpg 1\n/a/apartment_building/outdoor/1.jpg 2\n",
        "places365_val.txt": "Places365_val_1.jpg 2\nPlaces365_val_2.jpg 0\nPlaces365_val_3.jpg 1\n",
    }
    train = {f"data_256/{name}": encoded(picture(i)) for i, name in enumerate(("a/airfield/1.jpg", "b/beach/1.jpg"))}
    train["data_256/a/apartment_building/outdoor/1.jpg"] = encoded(picture(2))
    val = {f"val_256/Places365_val_{i}.jpg": encoded(picture(10 + i)) for i in (1, 2, 3)}
    archives = {"lists.tar": {name: text.encode() for name, text in lists.items()}, "train.tar": train, "val.tar": val}
    with served(tmp_path / "site") as address:
        meta = {}
        for name, members in archives.items():
            path = write_tar(tmp_path / "site" / name, members)
            meta[name] = (name, hash_of(path, "md5"))
        lists_md5 = {name: hash_of(_written(tmp_path / name, text), "md5") for name, text in lists.items()}
        categories, standard, validation = lists
        monkeypatch.setattr(dataset, "_BASE_URL", address)
        monkeypatch.setattr(dataset, "_DEVKIT_META", {"standard": meta["lists.tar"]})
        monkeypatch.setattr(dataset, "_CATEGORIES_META", (categories, lists_md5[categories]))
        files = {"train-standard": (standard, lists_md5[standard]), "val": (validation, lists_md5[validation])}
        monkeypatch.setattr(dataset, "_FILE_LIST_META", files)
        images = {("train-standard", True): meta["train.tar"], ("val", True): meta["val.tar"]}
        monkeypatch.setattr(dataset, "_IMAGES_META", images)
        yield tmp_path / "site", tmp_path / "places"


def _written(path, text):
    path.write_text(text)
    return path


def test_places365_is_downloaded_when_asked_for_and_indexed_by_its_lists(places):
    _, root = places
    fetch_places365(str(root))
    index = index_places365(str(root), 16, 3)
    assert index.classes == ["a/airfield", "b/beach", "a/apartment_building/outdoor"]
    assert index.labels["train"].tolist() == [0, 1, 2]
    assert index.labels["test"].tolist() == [2, 0, 1]
    assert index.paths["train"][2] == "data_256_standard/a/apartment_building/outdoor/1.jpg"
    assert index.paths["test"][0] == "val_256/Places365_val_1.jpg"
    images = FileImages(root, index.paths["test"], index.labels["test"], 16, torch.device("cpu"), 1)
    assert next(images.plain(8)).shape == (3, 3, 16, 16)


def test_an_interrupted_download_of_places365_goes_on(places):
    site, root = places
    fetch_places365(str(root))
    for archive in site.glob("*.tar"):
        archive.unlink()
    # Interrupted between the extraction of the training images and the new name of their folder.
    (root / "data_256_standard").rename(root / "data_256")
    (root / "train.tar").unlink()
    fetch_places365(str(root))
    assert len(index_places365(str(root), 16, 3).paths["train"]) == 3
    # All is there: nothing is asked of the site.
    fetch_places365(str(root))


def test_places365_is_not_downloaded_unasked(places):
    _, root = places
    root.mkdir()
    message = rf"categories_places365.txt does not exist or is corrupted.* python -m gendistill.data.places365 {root}$"
    with pytest.raises(UserError, match=message):
        index_places365(str(root), 16, 3)
    assert list(root.iterdir()) == []


def test_the_command_that_the_message_names_downloads(places, monkeypatch):
    _, root = places
    monkeypatch.setattr(sys, "argv", ["places365", str(root)])
    runpy.run_path(places365_module.__file__, run_name="__main__")
    assert len(index_places365(str(root), 16, 3).paths["train"]) == 3


def test_a_bad_archive_of_places365_leaves_no_folder(places):
    site, root = places
    with (site / "val.tar").open("ab") as archive:
        archive.write(b"more")
    with pytest.raises(UserError, match=rf"val.tar could not be had .* at {root}/val.tar by hand"):
        fetch_places365(str(root))
    assert not (root / "val_256").exists()
    assert not (root / "val.tar").exists()


@pytest.mark.parametrize("gone", ["val_256/Places365_val_2.jpg", "data_256_standard/b"])
def test_absent_images_of_places365_are_counted_and_the_first_is_named(places, gone):
    _, root = places
    fetch_places365(str(root))
    path = root / gone
    first = path if path.is_file() else path / "beach/1.jpg"
    path.unlink() if path.is_file() else shutil.rmtree(path)
    with pytest.raises(UserError, match=rf"1 of the 3 images of .* missing, the first is {first}\. .*"):
        index_places365(str(root), 16, 3)


def test_a_changed_list_of_places365_is_refused(places):
    _, root = places
    fetch_places365(str(root))
    (root / "places365_val.txt").write_text("Places365_val_1.jpg 0\n")
    with pytest.raises(UserError, match=r"places365_val.txt does not exist or is corrupted"):
        index_places365(str(root), 16, 3)


def test_places365_has_its_number_of_classes(places):
    _, root = places
    fetch_places365(str(root))
    with pytest.raises(UserError, match=r"dataset.classes = 365: but Places365 has 3 classes"):
        index_places365(str(root), 16, 365)
