"""Validation images, and the best epoch that is chosen on them."""

import copy

import numpy as np
import pytest

from gendistill.data.images import hold_out_validation, load_images, save_images
from gendistill.training import run
from tests.tiny import COUNT, FILES, PER_CLASS, read_history, tiny_images, train, write_receipt

pytestmark = pytest.mark.usefixtures("one_thread")


def test_validation_images_are_taken_from_the_training_images():
    data = tiny_images()
    held = hold_out_validation(data, 2, seed=5)
    parts = {split: {image.tobytes() for image in images} for split, images in held.images.items()}
    assert not parts["train"] & parts["validation"]
    assert parts["train"] | parts["validation"] == {image.tobytes() for image in data.images["train"]}
    assert np.bincount(held.labels["validation"]).tolist() == [2, 2, 2]
    assert np.bincount(held.labels["train"]).tolist() == [PER_CLASS - 2] * 3
    label_of = {image.tobytes(): label for image, label in zip(data.images["train"], data.labels["train"], strict=True)}
    for split in ("train", "validation"):
        found = zip(held.images[split], held.labels[split], strict=True)
        assert all(label_of[image.tobytes()] == label for image, label in found)
    assert np.array_equal(held.images["test"], data.images["test"])
    assert len(data.images["train"]) == COUNT


def test_no_validation_images_unless_asked_for():
    assert "validation" not in hold_out_validation(tiny_images(), 0, seed=5).images


def test_validation_images_are_tested_on_but_not_trained_on(tmp_path):
    held = hold_out_validation(tiny_images(), 3, seed=5)
    save_images(held, tmp_path / "dataset")
    write_receipt(tmp_path / "dataset", "dataset.safetensors")
    metrics = train(tmp_path / "step", tmp_path / "dataset", recipe={"evaluate_every": 1})
    other = copy.deepcopy(held)
    other.images["validation"][:] = 255 - other.images["validation"]
    save_images(other, tmp_path / "other")
    write_receipt(tmp_path / "other", "dataset.safetensors")
    changed = train(tmp_path / "again" / "step", tmp_path / "other", recipe={"evaluate_every": 1})
    for name in FILES:
        assert (tmp_path / "step" / name).read_bytes() == (tmp_path / "again" / "step" / name).read_bytes()
    assert metrics["validation_loss"] != changed["validation_loss"]
    history = read_history(tmp_path / "step")
    best = min(history, key=lambda row: float(row["validation_error_pct"]))
    assert metrics["best_epoch_chosen_on"] == "validation"
    assert (metrics["best_epoch"], metrics["best_epoch_test_error_pct"]) == (int(best["epoch"]), float(best["test_error_pct"]))
    assert load_images(tmp_path / "dataset").images["validation"].shape == (9, 1, 8, 8)


def row(epoch, test, validation=None):
    errors = {} if test is None else {"test_error_pct": test}
    return {"epoch": epoch, **errors, **({} if validation is None else {"validation_error_pct": validation})}


def test_the_best_epoch_is_chosen_on_validation_images():
    history = [row(1, None), row(2, 10.0, 30.0), row(3, 20.0, 25.0), row(4, 5.0, 26.0)]
    found = run.best_epoch(history)
    assert found == {"best_epoch": 3, "best_epoch_test_error_pct": 20.0, "best_epoch_chosen_on": "validation"}


def test_without_validation_images_the_best_epoch_is_marked_as_chosen_on_test_images():
    history = [row(1, None), row(2, 10.0), row(3, 20.0), row(4, 5.0), row(5, 6.0)]
    found = run.best_epoch(history)
    assert found == {"best_epoch": 4, "best_epoch_test_error_pct": 5.0, "best_epoch_chosen_on": "test"}
