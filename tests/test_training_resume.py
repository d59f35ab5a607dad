"""A training that was interrupted or killed goes on with the same bits."""

import io
import itertools

import pytest
import torch
import torch.nn.functional as F

from gendistill.errors import InterruptedTraining
from gendistill.runtime import Runtime
from tests.tiny import (
    COUNT,
    EPOCHS,
    FROM_TEACHER,
    STEPS,
    assert_same_bits,
    replace_loss,
    stop_at,
    train,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("call", [0, 2, STEPS, STEPS + 2, 2 * STEPS, EPOCHS * STEPS - 1])
def test_an_interrupted_training_goes_on_with_the_same_bits(trained, dataset, tmp_path, call):
    with pytest.raises(InterruptedTraining, match=rf"epoch {call // STEPS + 1} of {EPOCHS}, step {call % STEPS}"):
        train(tmp_path / "step", dataset, runtime=stop_at(call))
    assert not (tmp_path / "step" / "model.safetensors").exists()
    left = stop_at(-1)
    left.progress, seen = lambda done, total: seen.append(done), []
    train(tmp_path / "step", dataset, runtime=left)
    assert_same_bits(tmp_path / "step", trained[0])
    assert len(seen) == EPOCHS * STEPS - call
    assert seen[-1] == EPOCHS * COUNT


def test_a_training_interrupted_in_every_step_gives_the_same_bits(trained, dataset, tmp_path):
    for _ in range(EPOCHS * STEPS - 1):
        with pytest.raises(InterruptedTraining):
            train(tmp_path / "step", dataset, runtime=stop_at(1))
    train(tmp_path / "step", dataset, runtime=stop_at(1))
    assert_same_bits(tmp_path / "step", trained[0])


def test_an_interrupted_student_goes_on_with_the_same_bits(dataset, teacher, tmp_path):
    inputs = {"softlabels": teacher["softlabels"]}
    train(tmp_path / "whole", dataset, FROM_TEACHER, inputs=inputs, generation=2)
    with pytest.raises(InterruptedTraining):
        train(tmp_path / "step", dataset, FROM_TEACHER, runtime=stop_at(6), inputs=inputs, generation=2)
    train(tmp_path / "step", dataset, FROM_TEACHER, inputs=inputs, generation=2)
    assert_same_bits(tmp_path / "step", tmp_path / "whole")


def test_an_interrupted_training_without_momentum_goes_on_with_the_same_bits(dataset, tmp_path):
    recipe = {"momentum": 0.0, "nesterov": False}
    train(tmp_path / "whole", dataset, recipe=recipe)
    with pytest.raises(InterruptedTraining):
        train(tmp_path / "step", dataset, recipe=recipe, runtime=stop_at(6))
    train(tmp_path / "step", dataset, recipe=recipe)
    assert_same_bits(tmp_path / "step", tmp_path / "whole")


def noisy_loss(logits, labels, teacher_logits=None):
    return F.cross_entropy(logits + 0.1 * torch.randn_like(logits), labels)


def test_random_numbers_that_an_objective_draws_go_on_too(dataset, tmp_path, monkeypatch):
    replace_loss(noisy_loss, monkeypatch)
    train(tmp_path / "whole", dataset)
    with pytest.raises(InterruptedTraining):
        train(tmp_path / "step", dataset, runtime=stop_at(6))
    torch.manual_seed(99)
    train(tmp_path / "step", dataset)
    assert_same_bits(tmp_path / "step", tmp_path / "whole")


@pytest.mark.parametrize(("every", "killed_after", "steps_left"), [(1, 10, 4), (2, 10, 4), (2, 7, 12), (3, 11, 12)])
def test_a_killed_training_goes_on_from_its_last_checkpoint(trained, dataset, tmp_path, every, killed_after, steps_left):
    done, seen = itertools.count(1), []

    def kill(*_):
        if next(done) == killed_after:
            raise KeyboardInterrupt

    runtime = Runtime("cpu", checkpoint_every=every)
    runtime.progress = kill
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "step", dataset, runtime=runtime)
    runtime.progress = lambda *progress: seen.append(progress)
    train(tmp_path / "step", dataset, runtime=runtime)
    assert len(seen) == steps_left
    assert_same_bits(tmp_path / "step", trained[0])


def truncate(path):
    path.write_bytes(path.read_bytes()[:-500])


def empty(path):
    path.write_bytes(b"")


def overwrite(path):
    path.write_bytes(b"not a checkpoint")


def overwrite_by_another_state(path):
    torch.save({"something": "else"}, path)


def flip_bits_of_a_weight(path):
    content = bytearray(path.read_bytes())
    weight = torch.load(io.BytesIO(content[32:]), weights_only=True)["network"]["classifier.weight"].numpy().tobytes()
    content[content.index(weight) + 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        empty,
        overwrite,
        overwrite_by_another_state,
        flip_bits_of_a_weight,
    ],
)
def test_a_corrupt_checkpoint_is_put_aside_and_training_starts_over(trained, dataset, tmp_path, damage):
    folder = tmp_path / "step"
    with pytest.raises(InterruptedTraining):
        train(folder, dataset, runtime=stop_at(STEPS + 2))
    damage(folder / "resume.pt")
    damaged, seen = (folder / "resume.pt").read_bytes(), []
    runtime = Runtime("cpu")
    runtime.progress = lambda *progress: seen.append(progress)
    train(folder, dataset, runtime=runtime)
    assert len(seen) == EPOCHS * STEPS
    assert_same_bits(folder, trained[0])
    assert (folder / "resume.pt.corrupt").read_bytes() == damaged


def test_the_checkpoint_of_another_step_is_not_used(trained, dataset, tmp_path):
    with pytest.raises(InterruptedTraining):
        train(tmp_path / "other", dataset, seed=1, runtime=stop_at(STEPS + 2))
    (tmp_path / "step").mkdir()
    (tmp_path / "other" / "resume.pt").rename(tmp_path / "step" / "resume.pt")
    train(tmp_path / "step", dataset)
    assert_same_bits(tmp_path / "step", trained[0])
