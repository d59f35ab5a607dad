"""Trainings with the settings against overfitting: what the network, the teacher and the loss are given, and resuming."""

import pytest
import torch
import torch.nn.functional as F

from gendistill.data.augment import augmentation
from gendistill.errors import InterruptedTraining, SettingError
from gendistill.networks.trained import load_network, logits_of
from gendistill.runtime import Runtime
from gendistill.training import epoch
from tests.tiny import (
    CLASSES,
    COUNT,
    EPOCHS,
    FROM_TEACHER,
    FROZEN,
    STEPS,
    assert_same_bits,
    read_history,
    replace_loss,
    stop_at,
    train,
    weights,
)

pytestmark = pytest.mark.usefixtures("one_thread")
ON = {
    "cutout": {"cutout": 4},
    "mixup": {"mixup": 0.4},
    "auto_augment": {"auto_augment": "svhn"},
    "dropout": {"dropout": 0.5},
    "spatial_dropout": {"spatial_dropout": 0.3},
    "drop_block": {"drop_block": 0.2, "drop_block_size": 2},
}


@pytest.mark.parametrize("recipe", ON.values(), ids=list(ON))
def test_an_interrupted_training_goes_on_with_the_same_bits(trained, dataset, tmp_path, recipe):
    recipe = {**recipe, "micro_batch": 7}
    train(tmp_path / "whole", dataset, recipe=recipe)
    for call in (2, STEPS + 1):
        with pytest.raises(InterruptedTraining):
            train(tmp_path / "step", dataset, recipe=recipe, runtime=stop_at(call))
        torch.manual_seed(99)
    train(tmp_path / "step", dataset, recipe=recipe)
    assert_same_bits(tmp_path / "step", tmp_path / "whole")
    assert weights(tmp_path / "step")["stem.weight"].tobytes() != weights(trained[0])["stem.weight"].tobytes()


def test_an_interrupted_training_with_all_of_them_in_micro_batches_goes_on_with_the_same_bits(dataset, teacher, tmp_path):
    recipe = {name: value for each in ON.values() for name, value in each.items()} | {"batch_size": 8, "micro_batch": 2}
    inputs = {"teacher": teacher["teacher"]}
    train(tmp_path / "whole", dataset, FROM_TEACHER, recipe, inputs=inputs, generation=1)
    with pytest.raises(InterruptedTraining):
        train(tmp_path / "step", dataset, FROM_TEACHER, recipe, stop_at(STEPS + 2), inputs, generation=1)
    train(tmp_path / "step", dataset, FROM_TEACHER, recipe, inputs=inputs, generation=1)
    assert_same_bits(tmp_path / "step", tmp_path / "whole")


def test_off_is_as_before(trained, dataset, tmp_path):
    off = {"cutout": 0, "mixup": 0.0, "auto_augment": None, "dropout": 0.0, "spatial_dropout": 0.0, "drop_block": 0.0}
    train(tmp_path / "step", dataset, recipe=off)
    assert_same_bits(tmp_path / "step", trained[0])


@pytest.fixture
def shown(monkeypatch):
    """What each training shows: a list of (epoch, positions of the images, pixels, partners, share), one for each micro-batch."""
    found = []

    def spy(recipe, keys, epoch, *rest):
        augment = augmentation(recipe, keys, epoch, *rest)

        def augment_and_note(pixels, positions, step, part):
            changed = augment(pixels, positions, step, part)
            found.append((epoch, positions.tolist(), *changed))
            return changed

        return augment_and_note

    monkeypatch.setattr(epoch, "augmentation", spy)
    return found


@pytest.mark.parametrize("recipe", [{"cutout": 4}, {"auto_augment": "svhn"}, {"cutout": 3, "auto_augment": "imagenet"}])
def test_an_image_looks_the_same_whatever_the_batches(dataset, tmp_path, shown, recipe):
    looks = []
    for sizes in ({"batch_size": 7}, {"batch_size": 8, "micro_batch": 2}, {"batch_size": COUNT}):
        train(tmp_path / f"{len(looks)}", dataset, recipe={**recipe, **sizes})
        looks.append({(epoch, i): p for epoch, order, pixels, *_ in shown for i, p in zip(order, pixels, strict=True)})
        shown.clear()
    first, *others = looks
    assert len(first) == EPOCHS * COUNT
    for other in others:
        assert first.keys() == other.keys()
        assert all(torch.equal(first[key], other[key]) for key in first)


def test_mixup_takes_the_loss_of_both_labels_and_the_teachers_logits_on_mixed_images(
    dataset, teacher, tmp_path, shown, monkeypatch
):
    calls = []

    def loss(logits, labels, teacher_logits):
        calls.append((logits.detach(), labels, teacher_logits))
        return F.cross_entropy(logits, labels)

    replace_loss(loss, monkeypatch)
    objective = {"name": "spy", "_target_": "gendistill.objectives.cross_entropy.loss", "trains": "student"}
    recipe = {**FROZEN, "mixup": 1.0}
    train(tmp_path / "step", dataset, objective, recipe, inputs={"teacher": teacher["teacher"]}, generation=1)
    network, description = load_network(teacher["teacher"], torch.device("cpu"))
    assert len(calls) == 2 * len(shown) == 2 * STEPS
    losses = wrong = 0.0
    for (logits, labels, _), (_, others, seen), (_, _, pixels, partners, share) in zip(calls[::2], calls[1::2], shown, strict=True):
        assert torch.equal(others, labels[partners])
        assert torch.allclose(seen, logits_of(network, description, pixels), rtol=2e-3, atol=2e-3)
        mixed = share * torch.eye(CLASSES)[labels] + (1 - share) * torch.eye(CLASSES)[others]
        losses -= (mixed * logits.log_softmax(1)).sum().item()
        wrong += len(labels) - mixed.gather(1, logits.argmax(1)[:, None]).sum().item()
    (row,) = read_history(tmp_path / "step")
    assert float(row["train_loss"]) == pytest.approx(losses / COUNT, rel=1e-5)
    assert float(row["train_error_pct"]) == pytest.approx(100 * wrong / COUNT, rel=1e-5)


@pytest.mark.parametrize("name", ["dropout", "spatial_dropout", "drop_block"])
def test_what_acts_in_the_student_leaves_stored_soft_labels_exact(dataset, teacher, tmp_path, name):
    for kind, folder in teacher.items():
        train(tmp_path / kind, dataset, FROM_TEACHER, ON[name], inputs={kind: folder}, generation=1)
    stored, online = weights(tmp_path / "softlabels"), weights(tmp_path / "teacher")
    for key, value in stored.items():
        assert value == pytest.approx(online[key], rel=1e-3, abs=1e-3)


def logged(*arguments, **more):
    runtime, lines = Runtime("cpu"), []
    runtime.log = lines.append
    train(*arguments, runtime=runtime, **more)
    return [line for line in lines if "soft labels" in line]


def test_the_log_says_why_a_teacher_is_online(dataset, teacher, tmp_path):
    student = {"objective": FROM_TEACHER, "generation": 1}
    (line,) = logged(tmp_path / "a", dataset, recipe={"mixup": 0.2}, inputs={"teacher": teacher["teacher"]}, **student)
    assert line.startswith("soft labels: from the teacher online, because recipe.mixup = 0.2 mixes each image with another")
    assert not logged(tmp_path / "b", dataset, recipe={"dropout": 0.2}, inputs={"teacher": teacher["teacher"]}, **student)
    assert not logged(tmp_path / "c", dataset, recipe={"mixup": 0.2})


def test_a_square_larger_than_the_images_is_refused(dataset, tmp_path):
    with pytest.raises(SettingError, match=r"recipe\.cutout = 9: larger than the images, which are 8x8"):
        train(tmp_path / "step", dataset, recipe={"cutout": 9})
