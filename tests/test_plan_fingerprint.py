"""Fingerprints of a user's files follow their content."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gendistill.errors import SettingError
from gendistill.plan.fingerprint import fingerprint
from tests.small_data import make_folder, some_images


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Caches lie below the current directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_folder(tmp_path / "images", some_images())


def test_fingerprint_follows_the_content_not_the_place(own_folder, tmp_path):
    shutil.copytree(own_folder, tmp_path / "elsewhere/copy")
    assert fingerprint("images", "") == fingerprint(str(tmp_path / "elsewhere/copy"), "")
    first, second = own_folder / "train/cat/0.png", tmp_path / "another.png"
    shutil.copyfile(first, second)
    assert fingerprint(str(first), "") == fingerprint(str(second), "")


def test_fingerprint_is_the_same_after_a_touch_and_without_the_cache(own_folder, tmp_path):
    before = fingerprint("images", "")
    os.utime(own_folder / "train/cat/0.png", (1, 1))
    assert fingerprint("images", "") == before
    shutil.rmtree(tmp_path / ".snakemake")
    assert fingerprint("images", "") == before


def swap_files(root: Path) -> None:
    first, second, between = root / "train/cat/0.png", root / "train/dog/0.png", root / "between"
    first.rename(between)
    second.rename(first)
    between.rename(second)


def change_a_pixel(root: Path) -> None:
    image = np.asarray(Image.open(root / "test/dog/2.png")).copy()
    image[0, 0, 0] ^= 1
    Image.fromarray(image).save(root / "test/dog/2.png")


def rename_a_class(root: Path) -> None:
    """The order of the files stays."""
    for split in ("train", "test"):
        (root / split / "cat").rename(root / split / "cow")


CHANGES = {
    "a class renamed": rename_a_class,
    "a pixel": change_a_pixel,
    "a file more": lambda root: shutil.copy(root / "train/cat/0.png", root / "train/cat/9.png"),
    "a file less": lambda root: (root / "train/cat/0.png").unlink(),
    "another name": lambda root: (root / "train/cat/0.png").rename(root / "train/cat/7.png"),
    "two files swapped": swap_files,
}


@pytest.mark.parametrize("change", CHANGES)
def test_fingerprint_changes_with_the_content(own_folder, change):
    before = fingerprint("images", "")
    CHANGES[change](own_folder)
    assert fingerprint("images", "") != before


def test_fingerprint_changes_with_a_byte_of_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.npz").write_bytes(b"1234")
    before = fingerprint("own.npz", "")
    Path("own.npz").write_bytes(b"1235")
    assert fingerprint("own.npz", "") != before


@pytest.mark.parametrize("path", ["nowhere", "/no/such/file.npz", "images/train/bird"])
def test_fingerprint_of_nothing_is_refused(own_folder, path):
    with pytest.raises(SettingError, match=f"dataset.path = {path}: .*config/experiment/mine.yaml"):
        fingerprint(path, "config/experiment/mine.yaml")


def test_fingerprint_with_a_damaged_cache(own_folder, tmp_path):
    before = fingerprint("images", "")
    (tmp_path / ".snakemake/gendistill/fingerprints.json").write_text('{"a')
    assert fingerprint("images", "") == before


def test_a_fingerprint_follows_the_content(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"one")
    (tmp_path / "b.npz").write_bytes(b"one")
    (tmp_path / "c.npz").write_bytes(b"two")
    one, same, other = (fingerprint(str(tmp_path / f"{name}.npz"), "file") for name in "abc")
    assert one == same == fingerprint("a.npz", "file")
    assert one != other
    (tmp_path / "a.npz").write_bytes(b"more")
    assert fingerprint("a.npz", "file") not in (one, other)


def test_a_fingerprint_of_a_folder_follows_names_and_contents(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder / "cat").mkdir(parents=True)
        (tmp_path / folder / "cat" / "1.png").write_bytes(b"x")
    assert fingerprint("one", "file") == fingerprint("two", "file")
    (tmp_path / "two" / "cat").rename(tmp_path / "two" / "dog")
    renamed = fingerprint("two", "file")
    (tmp_path / "two" / "dog" / "2.png").write_bytes(b"x")
    assert len({fingerprint("one", "file"), renamed, fingerprint("two", "file")}) == 3


def test_data_that_are_not_there_are_named():
    with pytest.raises(SettingError, match=r"dataset\.path = nowhere: there is no such file or folder\. Set in file"):
        fingerprint("nowhere", "file")
