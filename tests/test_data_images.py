"""Images: the prepared file, the validation split, draws from each class, and what cannot be trained on."""

import hashlib
import json

import numpy as np
import pytest
from scipy.stats import chisquare

from gendistill.data.images import Images, check_images, draw_per_class, hold_out_validation, load_images, save_images
from gendistill.errors import UserError
from gendistill.receipt import write_receipt
from tests.small_data import own_arrays, prepare, prepare_npz, rows_of


def test_prepared_file_round_trip(tmp_path):
    random = np.random.default_rng(5)
    images = {split: random.integers(0, 256, (6, 3, 4, 5), dtype=np.uint8) for split in ("train", "test", "validation")}
    labels = {split: np.arange(6) % 2 for split in images}
    data = Images(images, labels, ["ä", "b c"], [0, 0], ["super"])
    save_images(data, tmp_path)
    write_receipt(tmp_path, {}, ("dataset.safetensors",), {}, {})
    back = load_images(tmp_path)
    assert (back.classes, back.superclass_of, back.superclasses) == (data.classes, data.superclass_of, data.superclasses)
    assert back.images.keys() == back.labels.keys() == images.keys()
    for split in images:
        np.testing.assert_array_equal(back.images[split], images[split])
        np.testing.assert_array_equal(back.labels[split], labels[split])


def test_transposed_images_are_saved_as_they_are_seen(tmp_path):
    images = np.random.default_rng(6).integers(0, 256, (4, 5, 6, 3), dtype=np.uint8).transpose(0, 3, 1, 2)
    parts = {"train": images, "test": images[::-1]}
    save_images(Images(parts, {split: np.arange(4) for split in parts}, list("abcd"), [], []), tmp_path)
    write_receipt(tmp_path, {}, ("dataset.safetensors",), {}, {})
    np.testing.assert_array_equal(load_images(tmp_path).images["train"], images)
    np.testing.assert_array_equal(load_images(tmp_path).images["test"], images[::-1])


def test_validation_images_are_taken_from_the_training_images(tmp_path):
    whole = prepare("mnist5k", tmp_path / "whole")
    split = prepare("mnist5k", tmp_path / "split", validation_per_class=7)
    assert np.bincount(split.labels["validation"]).tolist() == [7] * 10
    assert np.bincount(split.labels["train"]).tolist() == [43] * 10
    np.testing.assert_array_equal(split.images["test"], whole.images["test"])
    parts = [(split.images[s], split.labels[s]) for s in ("train", "validation")]
    np.testing.assert_array_equal(rows_of(*parts), rows_of((whole.images["train"], whole.labels["train"])))


def test_validation_depends_on_the_seed_only(tmp_path):
    arrays = own_arrays(classes=3)
    images = {split: arrays[f"{split}_images"][:, None] for split in ("train", "test")}
    labels = {split: arrays[f"{split}_labels"] for split in ("train", "test")}
    data = Images(images, labels, list("abc"), [], [])
    held = [hold_out_validation(data, 2, seed).images["validation"].tobytes() for seed in (0, 0, 1, 2)]
    assert held[0] == held[1]
    assert len(set(held)) == 3
    assert hold_out_validation(data, 0, 0).images.keys() == {"train", "test"}


def test_validation_must_leave_training_images(tmp_path):
    with pytest.raises(UserError, match=r"dataset.validation_per_class = 5.* only 5 images"):
        prepare_npz(tmp_path, own_arrays(), validation_per_class=5)


def test_draw_per_class_is_pinned():
    """The split is part of every result, and no id would tell of another one: it must never change."""
    labels = np.arange(40) % 2
    assert draw_per_class(labels, 4, 0, "").tolist() == [0, 3, 4, 5, 19, 22, 31, 34]
    assert draw_per_class(labels, 4, 1, "").tolist() != [0, 3, 4, 5, 19, 22, 31, 34]


LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [30, 10, 20, 11, 50]))


def test_as_many_images_of_each_class_are_drawn():
    drawn = draw_per_class(LABELS, 9, 3, "what")
    assert (np.diff(drawn) > 0).all()
    assert np.bincount(LABELS[drawn]).tolist() == [9] * 5
    assert np.array_equal(drawn, draw_per_class(LABELS, 9, 3, "what"))
    assert not np.array_equal(drawn, draw_per_class(LABELS, 9, 4, "what"))


def test_the_draw_from_a_class_depends_on_no_other_class():
    drawn = draw_per_class(LABELS, 9, 3, "what")
    kept = np.flatnonzero(np.isin(LABELS, [0, 4]))
    assert np.array_equal(kept[draw_per_class(LABELS[kept], 9, 3, "what")], drawn[np.isin(LABELS[drawn], [0, 4])])


def test_classes_are_drawn_from_independently():
    labels = np.repeat([0, 1], 100)
    drawn = draw_per_class(labels, 50, 0, "what")
    assert not np.array_equal(drawn[:50], drawn[50:] - 100)


def test_each_image_is_as_likely_to_be_drawn():
    labels = np.repeat([0, 1, 2], 10)
    counts = np.bincount(np.concatenate([draw_per_class(labels, 3, seed, "what") for seed in range(2000)]), minlength=30)
    # The counts of a class vary less than independent ones would, by 1 - 3/10.
    assert chisquare(counts).statistic / (1 - 3 / 10) < 60
    assert counts.sum() == 2000 * 9


@pytest.mark.parametrize("per_class", [10, 11])
def test_one_image_of_each_class_must_be_left(per_class):
    with pytest.raises(UserError, match=f"dataset.it = {per_class}: class 1 has only 10 images"):
        draw_per_class(LABELS, per_class, 0, "dataset.it")


def make_images():
    generator = np.random.default_rng(0)
    images = {split: generator.integers(0, 256, size=(4, 2, 5, 6), dtype=np.uint8) for split in ("train", "test", "validation")}
    labels = {"train": np.array([0, 1, 0, 1]), "test": np.array([1, 1, 0, 0]), "validation": np.array([0, 0, 0, 0])}
    return Images(images, labels, ["a", "b"], [0, 1], ["x", "y"])


def test_good_images_pass_and_survive_the_disk(tmp_path):
    data = make_images()
    check_images(data, None)
    save_images(data, tmp_path)
    sha256 = hashlib.sha256((tmp_path / "dataset.safetensors").read_bytes()).hexdigest()
    (tmp_path / "receipt.json").write_text(json.dumps({"outputs": {"dataset.safetensors": {"sha256": sha256}}}))
    found = load_images(tmp_path)
    assert (found.classes, found.superclass_of, found.superclasses, found.shape) == (["a", "b"], [0, 1], ["x", "y"], (2, 5, 6))
    for split in ("train", "test", "validation"):
        assert np.array_equal(found.images[split], data.images[split])
        assert np.array_equal(found.labels[split], data.labels[split])
    mean, std = found.mean_and_std()
    pixels = data.images["train"].astype(np.float64).transpose(1, 0, 2, 3).reshape(2, -1)
    np.testing.assert_allclose([mean, std], [pixels.mean(axis=1), pixels.std(axis=1)])


def test_images_of_one_colour_have_no_standard_deviation_of_zero():
    data = make_images()
    data.images["train"][:] = 7
    assert data.mean_and_std() == ([7.0, 7.0], [1e-6, 1e-6])


@pytest.mark.parametrize(
    ("kind", "split", "value", "message"),
    [
        ("images", "test", np.zeros((4, 2, 5, 6), np.float32), "test_images: must be uint8"),
        ("images", "test", np.zeros((4, 5, 6), np.uint8), "test_images: must be uint8 of shape"),
        ("images", "test", np.zeros((4, 2, 6, 6), np.uint8), "test_images have shape"),
        ("images", "train", np.zeros((3, 2, 5, 6), np.uint8), "train: 3 images, but 4 labels"),
        ("labels", "train", np.array([0, 1, 2, 1]), r"train_labels: must lie in 0 \.\. 1, got 0 \.\. 2"),
        ("labels", "test", np.array([0, 1, -1, 1]), r"test_labels: must lie in 0 \.\. 1, got -1 \.\. 1"),
        ("labels", "test", np.array([0, 0, 0, 0]), "test: no images of class b"),
        ("labels", "train", np.array([1, 1, 1, 1]), "train: no images of class a"),
    ],
)
def test_images_that_cannot_be_trained_on_are_refused(kind, split, value, message):
    data = make_images()
    getattr(data, kind)[split] = value
    with pytest.raises(UserError, match=message):
        check_images(data, None)


def test_images_of_another_size_than_was_set_are_refused():
    with pytest.raises(UserError, match=r"dataset\.image_size = 5, but the images are 5x6"):
        check_images(make_images(), 5)
