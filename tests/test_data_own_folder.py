"""Your own images in a folder: they arrive as written, and what cannot be used is refused by name."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gendistill.data.own import load_folder
from gendistill.errors import UserError
from tests.small_data import all_damages, make_folder, prepare, some_images


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3)])
def test_folder_arrives_as_written(tmp_path, shape):
    images = some_images(shape)
    root = make_folder(tmp_path / "images", images)
    data = prepare("folder", tmp_path / "out", root, image_size=8)
    assert data.classes == ["cat", "dog"]
    for split in ("train", "test"):
        assert data.labels[split].tolist() == [0, 0, 0, 1, 1, 1]
        written = [
            image if image.ndim == 3 else np.stack([image] * 3, axis=2) for name, image in images.items() if name.startswith(split)
        ]
        np.testing.assert_array_equal(data.images[split].transpose(0, 2, 3, 1), np.stack(written))


def test_folder_takes_other_formats(tmp_path):
    images = {name.replace("0.png", "0.bmp").replace("1.png", "1.webp"): image // 64 * 64 for name, image in some_images().items()}
    data = load_folder(str(make_folder(tmp_path, images)), 8)
    np.testing.assert_array_equal(data.images["train"][0].transpose(1, 2, 0), images["train/cat/0.bmp"])
    assert data.images["train"].shape == (6, 3, 8, 8)


def test_folder_images_are_resized(tmp_path):
    images = some_images((12, 20, 3))
    images["train/cat/0.png"] = np.full((12, 20, 3), (10, 20, 30), np.uint8)
    images["train/cat/1.png"] = np.concatenate([np.zeros((12, 10, 3), np.uint8), np.full((12, 10, 3), 200, np.uint8)], axis=1)
    data = load_folder(str(make_folder(tmp_path, images)), 6)
    assert data.images["train"].shape == (6, 3, 6, 6)
    assert (data.images["train"][0] == np.array([10, 20, 30])[:, None, None]).all()
    dark_left, bright_right = data.images["train"][1][:, :, :2], data.images["train"][1][:, :, 4:]
    assert dark_left.max() < 20
    assert bright_right.min() > 180


def empty_the_class(root: Path) -> None:
    for file in (root / "train/dog").iterdir():
        file.unlink()


def truncate_an_image(root: Path) -> None:
    file = root / "test/dog/1.png"
    file.write_bytes(file.read_bytes()[:120])


def damage_an_image(root: Path) -> None:
    """Change the length of the PNG's first chunk, which Pillow answers with a ValueError."""
    file = root / "test/dog/1.png"
    content = bytearray(file.read_bytes())
    content[11] ^= 1
    file.write_bytes(content)


def make_a_bomb(root: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(root / "train/cat/1.png")


FOLDER_FAULTS = {
    "empty class": (empty_the_class, "train: no images of class dog"),
    "class missing in test": (lambda root: shutil.rmtree(root / "test/dog"), "dataset.path = .*same class folders.*dog"),
    "class missing in train": (lambda root: shutil.rmtree(root / "train/cat"), "dataset.path = .*same class folders.*cat"),
    "no test folder": (lambda root: shutil.rmtree(root / "test"), "dataset.path = .*/test"),
    "no classes": (
        lambda root: [shutil.rmtree(root / s / c) for s in ("train", "test") for c in ("cat", "dog")],
        "dataset.path = .*none",
    ),
    "text among the images": (lambda root: (root / "train/cat/notes.txt").write_text("a cat"), "train/cat/notes.txt"),
    "truncated image": (truncate_an_image, "test/dog/1.png"),
    "damaged image": (damage_an_image, "test/dog/1.png"),
    "huge image": (make_a_bomb, "train/cat/1.png"),
    "dangling link": (lambda root: (root / "train/cat/link.png").symlink_to("nowhere.png"), "train/cat/link.png"),
}


@pytest.mark.parametrize("fault", FOLDER_FAULTS)
def test_a_folder_that_cannot_be_used_is_refused_by_name(tmp_path, fault):
    root = make_folder(tmp_path / "images", some_images())
    spoil, message = FOLDER_FAULTS[fault]
    spoil(root)
    with pytest.raises(UserError, match=message):
        prepare("folder", tmp_path / "out", root, image_size=8)
    assert not (tmp_path / "out").exists()


def test_every_damage_of_an_image_is_explained(tmp_path):
    root = make_folder(tmp_path, {f"{split}/cat/0.png": np.full((2, 2, 3), 77, np.uint8) for split in ("train", "test")})
    explained = 0
    for _ in all_damages(root / "train/cat/0.png"):
        try:
            load_folder(str(root), 2)
        except UserError as error:
            assert "train/cat/0.png" in str(error)
            explained += 1
    assert explained > 100


def test_folder_needs_an_image_size(tmp_path):
    root = make_folder(tmp_path / "images", some_images())
    with pytest.raises(UserError, match=r"dataset.image_size"):
        prepare("folder", tmp_path / "out", root, image_size=None)
