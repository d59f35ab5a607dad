"""A training that diverges says where it did."""

import itertools
import math

import pytest
import torch.nn.functional as F

from gendistill.errors import DivergedError, InterruptedTraining
from tests.tiny import EPOCHS, STEPS, replace_loss, stop_at, train

pytestmark = pytest.mark.usefixtures("one_thread")


def test_divergence_names_epoch_step_and_learning_rate(dataset, tmp_path):
    with pytest.raises(DivergedError, match=r"(?s)epoch \d of 3, step \d.*recipe\.learning_rate = 1e\+20"):
        train(tmp_path / "step", dataset, recipe={"learning_rate": 1e20})
    assert not (tmp_path / "step" / "model.safetensors").exists()


def loss_not_finite_at(call, value, monkeypatch):
    calls = itertools.count()

    def loss(logits, labels, teacher_logits=None):
        return F.cross_entropy(logits, labels) + (value if next(calls) == call else 0.0)

    replace_loss(loss, monkeypatch)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("call", [0, STEPS - 1, STEPS, STEPS + 2, EPOCHS * STEPS - 1])
def test_divergence_is_found_in_the_step_where_it_began(dataset, tmp_path, monkeypatch, call, value):
    loss_not_finite_at(call, value, monkeypatch)
    with pytest.raises(DivergedError, match=f"epoch {call // STEPS + 1} of {EPOCHS}, step {call % STEPS + 1},"):
        train(tmp_path / "step", dataset)


def test_divergence_before_an_interruption_is_found_after_it(dataset, tmp_path, monkeypatch):
    loss_not_finite_at(STEPS + 1, math.nan, monkeypatch)
    with pytest.raises(InterruptedTraining):
        train(tmp_path / "step", dataset, runtime=stop_at(STEPS + 3))
    with pytest.raises(DivergedError, match=f"epoch 2 of {EPOCHS}, step 2,"):
        train(tmp_path / "step", dataset)
