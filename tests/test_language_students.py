"""Students of language models: soft labels, stored and online; trained models on disk; interrupted trainings."""

import itertools
import json

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open

from gendistill.errors import InterruptedTraining, SettingError, UserError
from gendistill.language import dump
from gendistill.language.corpus import Corpus
from gendistill.language.run import train_language_model
from gendistill.language.trained import Description, load_language_model, save_language_model
from gendistill.runtime import Runtime
from tests.conftest import ROOT
from tests.test_language_networks import VOCABULARY, log_probabilities, tiny_corpus
from tests.test_language_training import (
    BATCH,
    CHUNKS,
    CPU,
    EPOCHS,
    FROM_LABELS,
    NETWORK,
    RECIPE,
    STEPS,
    assert_same_bits,
    history,
    train,
    write_dataset,
    write_receipt,
)

SPELLING = {
    "name": "spelling",
    "_target_": "gendistill.networks.cnn_lstm.CNNLSTM",
    "medium": "text",
    "character_size": 3,
    "widest_filter": 2,
    "filters_per_width": 4,
    "most_filters": 6,
    "highways": 1,
    "width": 5,
    "layers": 1,
    "dropout": 0.3,
    "init_range": 0.4,
}
FROM_BOTH = yaml.safe_load((ROOT / "config/objective/ban_label.yaml").read_text())


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("dataset"), tiny_corpus())


@pytest.fixture(scope="module")
def taught(dataset, tmp_path_factory):
    """The inputs of a student: a teacher with logits of some size, and its stored soft labels."""
    root = tmp_path_factory.mktemp("taught")
    torch.manual_seed(7)
    description = Description({**NETWORK, "init_range": 1.5}, VOCABULARY, "float32")
    save_language_model(description.build(), description, root / "teacher")
    write_receipt(root / "teacher", "model.safetensors")
    inputs = {"dataset": dataset, "teacher": root / "teacher"}
    with pytest.MonkeyPatch.context() as patch:
        # As many words at a time as the students here read; other numbers differ by rounding.
        patch.setattr(dump, "UNROLLED_STEPS", STEPS)
        metrics = dump.dump_language_soft_labels({"batch_size": BATCH}, inputs, root / "softlabels", Runtime("cpu"))
    assert metrics == {"words": 19, "streams": BATCH}
    write_receipt(root / "softlabels", "softlabels.npy")
    return {"teacher": root / "teacher", "softlabels": root / "softlabels"}


def stop_at(call):
    """A runtime that is asked to stop the `call`-th time, from 0; it is asked once before each step."""
    calls = itertools.count()
    return Runtime("cpu", stop_requested=lambda: next(calls) == call)


@pytest.mark.parametrize("call", range(1, EPOCHS * CHUNKS, 2))
@pytest.mark.parametrize("kind", ["patriarch", "stored", "online"])
def test_interrupted_and_resumed_training_is_the_same_bits(dataset, taught, tmp_path, kind, call):
    inputs = {"patriarch": {}, "stored": {"softlabels": taught["softlabels"]}, "online": {"teacher": taught["teacher"]}}[kind]
    objective = FROM_LABELS if kind == "patriarch" else FROM_BOTH
    train(tmp_path / "whole", dataset, objective, inputs=inputs)
    with pytest.raises(InterruptedTraining, match=rf"epoch {call // CHUNKS + 1} of 2, step {call % CHUNKS}"):
        train(tmp_path / "step", dataset, objective, inputs=inputs, runtime=stop_at(call))
    assert not (tmp_path / "step/model.safetensors").exists()
    torch.manual_seed(123)
    train(tmp_path / "step", dataset, objective, inputs=inputs)
    assert_same_bits(tmp_path / "step", tmp_path / "whole")


def test_a_killed_training_goes_on_from_the_last_epoch(dataset, tmp_path, monkeypatch):
    train(tmp_path / "whole", dataset, recipe={"epochs": 3})
    asked = itertools.count()

    def killed():
        if next(asked) == 2 * CHUNKS + 1:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "step", dataset, recipe={"epochs": 3}, runtime=Runtime("cpu", stop_requested=killed))
    lines = []
    monkeypatch.setattr(Runtime, "log", lambda self, text: lines.append(text))
    train(tmp_path / "step", dataset, recipe={"epochs": 3})
    assert "resumed after 2 epochs and 0 steps" in lines
    assert_same_bits(tmp_path / "step", tmp_path / "whole")


def test_stored_soft_labels_are_the_teachers_with_its_state_carried_over(taught):
    network, _ = load_language_model(taught["teacher"], CPU)
    tokens = tiny_corpus().tokens["train"]
    stored = np.load(taught["softlabels"] / "softlabels.npy", mmap_mode="r")
    assert (stored.dtype, stored.shape) == (np.float16, (19, BATCH, 5))
    for b in range(BATCH):
        logits = stored[:, b].astype(np.float64)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        expected = log_probabilities(network, tokens[19 * b : 19 * (b + 1) + 1])
        np.testing.assert_allclose(log_p, expected, atol=0.02)
        assert np.abs(np.diff(expected, axis=0)).max(axis=1).min() > 0.05, "neighbours must differ by more"


@pytest.mark.parametrize("network", [NETWORK, SPELLING], ids=["lstm", "cnn_lstm"])
def test_stored_and_online_teacher_give_the_same_student_bit_for_bit(dataset, taught, tmp_path, network):
    settings = {"network": network, "objective": FROM_BOTH, "recipe": RECIPE, "seed": 0, "generation": 1}
    for name, role in (("stored", "softlabels"), ("online", "teacher")):
        train_language_model(settings, {"dataset": dataset, role: taught[role]}, tmp_path / name, Runtime("cpu"))
    assert_same_bits(tmp_path / "stored", tmp_path / "online")
    settings |= {"objective": FROM_LABELS}
    train_language_model(settings, {"dataset": dataset}, tmp_path / "alone", Runtime("cpu"))
    assert history(tmp_path / "alone") != history(tmp_path / "stored")


def test_a_saved_cnn_lstm_keeps_its_spellings(tmp_path):
    network = Description(SPELLING, VOCABULARY, "float32").build()
    save_language_model(network, Description(SPELLING, VOCABULARY, "float32"), tmp_path)
    write_receipt(tmp_path, "model.safetensors")
    before = torch.get_rng_state()
    loaded, _ = load_language_model(tmp_path, CPU)
    assert torch.equal(torch.get_rng_state(), before), "else a student would differ between stored labels and a teacher online"
    assert torch.equal(loaded.spellings, network.spellings)
    tokens = torch.arange(5)[:, None]
    with torch.no_grad():
        assert torch.equal(loaded(tokens, loaded.initial_state(1))[0], network.eval()(tokens, network.initial_state(1))[0])
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["gendistill"])["vocabulary"] == VOCABULARY
        assert torch.equal(file.get_tensor("spellings"), network.spellings)


def test_what_does_not_fit_is_refused(dataset, taught, tmp_path):
    student = {"objective": FROM_BOTH, "generation": 1}
    with pytest.raises(UserError, match=r"must be float16 of shape \(words, streams, vocabulary\) = \(29, 2, 5\)"):
        train(tmp_path / "a", dataset, recipe={"batch_size": 2}, inputs={"softlabels": taught["softlabels"]}, **student)
    other = write_dataset(tmp_path / "other", Corpus(tiny_corpus().tokens, [*VOCABULARY[:4], "mouse"]))
    with pytest.raises(UserError, match="has another vocabulary than the text"):
        train(tmp_path / "b", other, inputs={"teacher": taught["teacher"]}, **student)
    for change in ({"needs": ["maps"]}, {"distil_until": 0.5}):
        with pytest.raises(SettingError, match=r"objective\.name = ban_label: cannot be used for text"):
            train(tmp_path / "c", dataset, {**FROM_BOTH, **change}, inputs={"teacher": taught["teacher"]})
    with pytest.raises(InterruptedTraining, match="stopped before all soft labels were written"):
        inputs = {"dataset": dataset, "teacher": taught["teacher"]}
        dump.dump_language_soft_labels({"batch_size": BATCH}, inputs, tmp_path / "d", stop_at(0))
    assert not (tmp_path / "d/softlabels.npy").exists()
