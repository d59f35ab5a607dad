"""SVHN, Caltech-256 and MIT Indoor-67 from small archives of the right layout, through the real downloads."""

import inspect
import io

import numpy as np
import pytest
import yaml
from jsonschema import Draft202012Validator
from PIL import Image

from gendistill.data import caltech256, indoor67
from gendistill.data import download as download_module
from gendistill.data.caltech256 import load_caltech256
from gendistill.data.decode import centre_view
from gendistill.data.images import check_images
from gendistill.data.indoor67 import load_indoor67
from gendistill.data.prepare import GENERIC
from gendistill.data.svhn import load_svhn
from gendistill.data.torchvision_import import import_torchvision
from gendistill.errors import UserError
from gendistill.plan.paths import CONFIG, SCHEMA
from gendistill.targets import NOT_ARGUMENTS, instantiate
from tests.small_archives import encoded, hash_of, picture, served, write_tar

NEW = (
    *("svhn", "caltech256", "indoor67", "imagenet", "places365"),
    *("food101", "flowers102", "cars", "cub200", "pets"),
)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder whose files can be downloaded, and its address; downloads go to `data/` in the current folder."""
    monkeypatch.setattr(download_module, "PAUSE", 0)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    with served(tmp_path / "site") as address:
        yield tmp_path / "site", address


# Settings


@pytest.mark.parametrize("name", NEW)
def test_settings_have_what_their_target_takes_and_are_allowed(name):
    settings = yaml.safe_load((CONFIG / "dataset" / f"{name}.yaml").read_text())
    target = instantiate(settings).func
    taken = {key for key, value in inspect.signature(target).parameters.items() if value.default is inspect.Parameter.empty}
    own = {key for key in settings if key not in (*NOT_ARGUMENTS, *GENERIC)}
    assert taken - own <= ({"classes"} if settings.get("on_disk") else set())
    assert own <= taken
    schema = yaml.safe_load(SCHEMA.with_name("dataset.yaml").read_text())[settings["_target_"]]
    values = {key: value for key, value in settings.items() if key not in ("name", "_target_", "on_disk")}
    assert set(values) == set(schema)
    definitions = yaml.safe_load(SCHEMA.read_text())["$defs"]
    validator = Draft202012Validator({"properties": schema, "$defs": definitions})
    validator.validate(values)
    for key in schema:
        assert list(validator.iter_errors({key: -1})), f"{key} = -1 is let through"


# SVHN


def make_svhn(folder, address, monkeypatch):
    """Small files as the authors' are: pixels (32, 32, 3, N), labels 1 to 10 for 1 to 9 and 0. Return images and digits."""
    from scipy.io import savemat

    expected, files = {}, {}
    for split, count in (("train", 30), ("test", 20), ("extra", 10)):
        images = np.random.default_rng(count).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
        digits = np.arange(count) % 10
        name = f"{split}_32x32.mat"
        labels = np.where(digits == 0, 10, digits).astype(np.uint8)[:, None]
        savemat(folder / name, {"X": images.transpose(2, 3, 1, 0), "y": labels})
        expected[split] = (images, digits)
        files[split] = [address + name, name, hash_of(folder / name, "md5")]
    monkeypatch.setattr(import_torchvision().datasets.SVHN, "split_list", files)
    return expected


def test_svhn_arrives_as_it_is_in_its_files(site, tmp_path, monkeypatch):
    expected = make_svhn(*site, monkeypatch)
    data = load_svhn(32)
    check_images(data, 32)
    assert set(data.images) == {"train", "test"}
    for split in data.images:
        np.testing.assert_array_equal(data.images[split], expected[split][0])
        np.testing.assert_array_equal(data.labels[split], expected[split][1])
        assert data.labels[split].dtype == np.int64
    assert data.classes == [str(digit) for digit in range(10)]
    # The part `extra` is not even downloaded.
    assert sorted(p.name for p in (tmp_path / "work/data/svhn").iterdir()) == ["test_32x32.mat", "train_32x32.mat"]


def test_svhn_of_another_hash_is_refused(site, monkeypatch):
    folder, address = site
    make_svhn(folder, address, monkeypatch)
    (folder / "test_32x32.mat").write_bytes(b"MATLAB 5.0")
    with pytest.raises(UserError, match=r"test_32x32.mat.*MD5.*at data/svhn/test_32x32.mat by hand"):
        load_svhn(32)


# Caltech-256


def make_caltech(site, monkeypatch, classes=4, per_class=5, more=None):
    """An archive of the right layout with clutter and odd files; return the pictures by class and name."""
    folder, address = site
    names = [f"{i + 1:03}.thing{i}" for i in range(classes)]
    pictures = {f"{c}/{c[:3]}_{i + 1:04}.jpg": encoded(picture(100 * int(c[:3]) + i)) for c in names for i in range(per_class)}
    odd = {"257.clutter/257_0001.jpg": encoded(picture(0)), "001.thing0/RENAME2": b"x", "002.thing1/greg/vision/2.jpg": b"x"}
    # The order in the archive must not matter.
    members = {f"256_ObjectCategories/{name}": content for name, content in reversed((pictures | odd | (more or {})).items())}
    path = write_tar(folder / "256.tar", members)
    monkeypatch.setattr(caltech256, "URL", address + "256.tar")
    monkeypatch.setattr(caltech256, "MD5", hash_of(path, "md5"))
    monkeypatch.setattr(caltech256, "CLASSES", 4)
    return pictures


def test_caltech256_has_each_picture_once_and_no_clutter(site, tmp_path, monkeypatch):
    pictures = make_caltech(site, monkeypatch)
    data = load_caltech256(image_size=16, train_per_class=3, split_seed=0)
    check_images(data, 16)
    assert data.classes == ["001.thing0", "002.thing1", "003.thing2", "004.thing3"]
    assert {split: np.bincount(labels).tolist() for split, labels in data.labels.items()} == {"train": [3] * 4, "test": [2] * 4}
    pairs = [pair for split in data.images for pair in zip(data.labels[split], data.images[split], strict=True)]
    arrived = sorted((label, image.tobytes()) for label, image in pairs)
    views = ((int(name[:3]) - 1, centre_view(io.BytesIO(content), 16)) for name, content in pictures.items())
    assert arrived == sorted((label, view.transpose(2, 0, 1).tobytes()) for label, view in views)
    # The archive alone is kept.
    assert [p.name for p in (tmp_path / "work/data/caltech256").iterdir()] == ["256_ObjectCategories.tar"]


def test_the_split_of_caltech256_follows_its_seed_alone(site, monkeypatch):
    make_caltech(site, monkeypatch, per_class=12)
    first, again, other = (load_caltech256(8, 6, seed).images["train"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert first.tobytes() != other.tobytes()


def test_caltech256_must_leave_test_images(site, monkeypatch):
    make_caltech(site, monkeypatch)
    with pytest.raises(UserError, match=r"train_per_class = 5.* only 5 images"):
        load_caltech256(8, 5, 0)


@pytest.mark.parametrize("classes", [3, 5])
def test_caltech256_without_a_class_is_refused(site, monkeypatch, classes):
    make_caltech(site, monkeypatch, classes)
    with pytest.raises(UserError, match=rf"data/caltech256/256_ObjectCategories.tar: must hold 4 classes .* has {classes}"):
        load_caltech256(8, 3, 0)


def test_a_damaged_picture_is_named(site, monkeypatch):
    make_caltech(site, monkeypatch, more={"003.thing2/003_0002.jpg": encoded(picture(1))[:200]})
    with pytest.raises(UserError, match=r"003.thing2/003_0002.jpg in data/caltech256/256_ObjectCategories.tar is not an image"):
        load_caltech256(8, 3, 0)


def test_caltech256_of_another_hash_is_refused(site, monkeypatch):
    make_caltech(site, monkeypatch)
    monkeypatch.setattr(caltech256, "MD5", "0" * 32)
    with pytest.raises(UserError, match=rf"put the original file \(MD5 {'0' * 32}\) at data/caltech256/256_ObjectCategories.tar"):
        load_caltech256(8, 3, 0)


# MIT Indoor-67


def make_indoor(site, monkeypatch, drop=(), lists=None, more=None):
    """Lists and an archive of the right layout; return the lists."""
    folder, address = site
    classes = [f"room{i:02}" for i in range(67)]
    lists = lists or {
        "train": [f"{name}/a room.jpg" for name in reversed(classes)] + [f"{name}/b.jpg" for name in classes[:3]],
        "test": [f"{name}/z.jpg" for name in classes],
    }
    names = ["room00/unlisted.jpg", *sorted({name for part in lists.values() for name in part} - set(drop))]
    small = {name: encoded(picture(i, 20, 14)) for i, name in enumerate(names)} | (more or {})
    path = write_tar(folder / "indoorCVPR_09.tar", {f"Images/{name}": content for name, content in small.items()})
    monkeypatch.setattr(indoor67, "ARCHIVE", (address + path.name, hash_of(path, "sha1")))
    served_lists = {}
    for split, part in lists.items():
        # The authors' lists end without a line feed.
        (folder / f"{split}.txt").write_text("\n".join(part))
        served_lists[split] = (f"{address}{split}.txt", hash_of(folder / f"{split}.txt", "sha256"))
    monkeypatch.setattr(indoor67, "LISTS", served_lists)
    return lists, small


def test_indoor67_has_the_pictures_of_its_lists(site, monkeypatch):
    lists, small = make_indoor(site, monkeypatch)
    data = load_indoor67(image_size=8)
    check_images(data, 8)
    assert len(data.classes) == 67
    for split, names in lists.items():
        assert data.images[split].shape == (len(names), 3, 8, 8)
        for name, image, label in zip(names, data.images[split], data.labels[split], strict=True):
            assert data.classes[label] == name.split("/")[0]
            np.testing.assert_array_equal(image.transpose(1, 2, 0), centre_view(io.BytesIO(small[name]), 8))


@pytest.mark.parametrize("kind", ["GIF", "PNG"])
def test_pictures_are_told_by_content_not_by_name(site, monkeypatch, kind):
    """Red left of blue, with a palette."""
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[:, :10, 0], pixels[:, 10:, 2] = 250, 240
    palette = Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE)
    lists, _ = make_indoor(site, monkeypatch, more={"room05/z.jpg": encoded(palette, kind)})
    image = load_indoor67(image_size=8).images["test"][lists["test"].index("room05/z.jpg")]
    np.testing.assert_array_equal(image[:, 4, 0], [250, 0, 0])
    np.testing.assert_array_equal(image[:, 4, -1], [0, 0, 240])


def test_absent_pictures_are_counted_and_the_first_is_named(site, monkeypatch):
    make_indoor(site, monkeypatch, drop=("room03/z.jpg", "room07/z.jpg"))
    with pytest.raises(UserError, match=r"indoorCVPR_09.tar lacks 2 of the 67 .* list of test .* first is room03/z.jpg"):
        load_indoor67(8)


@pytest.mark.parametrize(
    ("train", "test", "wrong"),
    [(range(67), range(66), "test 66"), (range(66), range(66), "train 66"), (range(67), range(1, 68), "test 67")],
)
def test_a_missing_class_is_refused(site, monkeypatch, train, test, wrong):
    lists = {"train": [f"room{i:02}/b.jpg" for i in train], "test": [f"room{i:02}/z.jpg" for i in test]}
    make_indoor(site, monkeypatch, lists=lists)
    split, count = wrong.split()
    with pytest.raises(UserError, match=rf"list of {split} images names {count} classes, there must be the same 67"):
        load_indoor67(8)


def test_a_changed_list_is_refused(site, monkeypatch):
    make_indoor(site, monkeypatch)
    (site[0] / "test.txt").write_text("room00/z.jpg")
    with pytest.raises(UserError, match=r"test.txt could not be had .*SHA256.* at data/indoor67/test.txt by hand"):
        load_indoor67(8)


def test_without_a_network_the_files_can_be_put_there(site, tmp_path, monkeypatch):
    make_indoor(site, monkeypatch)
    (tmp_path / "work/data").mkdir()
    site[0].rename(tmp_path / "work/data/indoor67")
    assert load_indoor67(8).images["test"].shape == (67, 3, 8, 8)
