"""Training language models on a made-up text, and on real words."""

import hashlib
import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from gendistill.data.views import derive_key
from gendistill.errors import DivergedError
from gendistill.language.corpus import save_corpus
from gendistill.language.pydoc import load_pydoc
from gendistill.language.run import train_language_model
from gendistill.language.schedule import learning_rate
from gendistill.language.trained import Description, load_language_model
from gendistill.networks.lstm import LSTM
from gendistill.runtime import Runtime
from tests.test_language_networks import VOCABULARY, log_probabilities, tiny_corpus

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS, BATCH, EPOCHS = 4, 3, 2
# 59 words in 3 streams: 19 read in each, in chunks of 4, 4, 4, 4 and 3.
CHUNKS = 5
NETWORK = {
    "name": "tiny",
    "_target_": "gendistill.networks.lstm.LSTM",
    "medium": "text",
    "width": 6,
    "layers": 2,
    "dropout": 0.5,
    "tied": True,
    "init_range": 0.5,
}
RECIPE = {
    "name": "tiny",
    "medium": "text",
    "epochs": EPOCHS,
    "batch_size": BATCH,
    "unrolled_steps": STEPS,
    "learning_rate": 1.0,
    "loss_sum": "time",
    "cut_factor": 0.25,
    "cut_unless_decreased_by": 0.0,
    "clip_norm": 1.0,
    "precision": "float32",
    "evaluation_batch_size": 2,
}
FROM_LABELS = {"name": "cross_entropy", "_target_": "gendistill.objectives.cross_entropy.loss", "trains": "patriarch"}
CPU = torch.device("cpu")


def write_receipt(folder, *names):
    outputs = {name: {"sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()} for name in names}
    (folder / "receipt.json").write_text(json.dumps({"outputs": outputs}))


def write_dataset(folder, corpus):
    save_corpus(corpus, folder)
    write_receipt(folder, "dataset.safetensors")
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("dataset"), tiny_corpus())


def train(folder, dataset, objective=FROM_LABELS, recipe=None, network=None, runtime=None, inputs=None, **numbers):
    groups = {"network": {**NETWORK, **(network or {})}, "objective": objective, "recipe": {**RECIPE, **(recipe or {})}}
    settings = {**groups, "seed": 0, **numbers}
    return train_language_model(settings, {"dataset": dataset, **(inputs or {})}, folder, runtime or Runtime("cpu"))


def history(folder):
    names, *rows = [line.split(",") for line in (folder / "history.csv").read_text().splitlines()]
    assert names[-1] == "tokens_per_second"
    return [dict(zip(names[:-1], map(float, row[:-1]), strict=True)) for row in rows]


def assert_same_bits(folder, other):
    assert (folder / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert history(folder) == history(other)


@pytest.mark.parametrize(
    ("perplexities", "decrease", "factor", "expected"),
    [
        ([], 0.0, 0.25, 2.0),
        ([100.0], 0.0, 0.25, 2.0),
        ([100.0, 99.99], 0.0, 0.25, 2.0),
        ([100.0, 100.0], 0.0, 0.25, 0.5),
        ([100.0, 90.0, 91.0], 0.0, 0.25, 0.5),
        ([100.0, 90.0, 91.0, 90.5], 0.0, 0.25, 0.5),
        ([100.0, 90.0, 91.0, 80.0, 80.5], 0.0, 0.25, 0.125),
        ([100.0, 99.6], 0.5, 0.5, 1.0),
        ([100.0, 99.5], 0.5, 0.5, 2.0),
        ([100.0, 99.6, 99.5, 98.0], 0.5, 0.5, 0.5),
    ],
)
def test_the_rate_is_cut_when_the_perplexity_does_not_fall(perplexities, decrease, factor, expected):
    recipe = {"learning_rate": 2.0, "cut_factor": factor, "cut_unless_decreased_by": decrease}
    assert learning_rate(recipe, perplexities) == pytest.approx(expected)


def train_plainly(loss_sum, clip_norm, rates):
    """The same training without dropout, written out with PyTorch's own optimizer and clipping."""
    tokens = torch.from_numpy(tiny_corpus().tokens["train"]).long()
    torch.manual_seed(derive_key("initialisation", 0, 0, 0) % 2**63)
    network = LSTM(VOCABULARY, 6, 2, 0.0, True, 0.5)
    optimizer = torch.optim.SGD(network.parameters(), 1.0)
    losses, clipped = [], 0
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        h, c = torch.zeros(2, BATCH, 6), torch.zeros(2, BATCH, 6)
        epoch = []
        for start in range(0, 19, STEPS):
            steps = min(STEPS, 19 - start)
            where = torch.tensor([[start + t + 19 * b for b in range(BATCH)] for t in range(steps)])
            logits, (h, c) = network(tokens[where], (h.detach(), c.detach()))
            loss = F.cross_entropy(logits.view(-1, 5), tokens[where + 1].view(-1), reduction="none")
            optimizer.zero_grad()
            (loss.sum() / BATCH if loss_sum == "time" else loss.mean()).backward()
            clipped += bool(torch.nn.utils.clip_grad_norm_(network.parameters(), clip_norm) > clip_norm)
            optimizer.step()
            epoch += loss.tolist()
        losses.append(np.mean(epoch))
    return network.state_dict(), losses, clipped


@pytest.mark.parametrize(("loss_sum", "clip_norm"), [("time", 0.8), ("none", 0.2), ("time", 100.0)])
def test_training_is_sgd_through_time_with_the_state_carried_over(dataset, tmp_path, loss_sum, clip_norm):
    recipe = {"loss_sum": loss_sum, "clip_norm": clip_norm, "learning_rate": 0.5, "epochs": 3, "cut_unless_decreased_by": 99.0}
    train(tmp_path / "step", dataset, recipe=recipe, network={"dropout": 0.0})
    # The perplexity never falls by 99: the rate is cut after the second epoch.
    expected, losses, clipped = train_plainly(loss_sum, clip_norm, rates=[0.5, 0.5, 0.125])
    assert (0 < clipped < 15) == (clip_norm != 100.0)
    found = load_file(tmp_path / "step/model.safetensors")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)
    rows = history(tmp_path / "step")
    assert [row["train_loss"] for row in rows] == pytest.approx(losses, rel=1e-5)
    assert [row["learning_rate"] for row in rows] == [0.5, 0.5, 0.125]


def test_metrics_are_perplexities_of_the_saved_network_and_of_the_best_epoch(dataset, tmp_path):
    metrics = train(tmp_path / "step", dataset, recipe={"epochs": 6, "learning_rate": 3.0, "cut_factor": 0.99})
    write_receipt(tmp_path / "step", "model.safetensors")
    network, description = load_language_model(tmp_path / "step", CPU)
    assert not network.training
    assert description == Description(NETWORK, VOCABULARY, "float32")
    for split, tokens in tiny_corpus().tokens.items():
        half = -(-(len(tokens) - 1) // 2)
        parts = [tokens[: half + 1], tokens[half:]]
        by_word = [row[w] for part in parts for row, w in zip(log_probabilities(network, part), part[1:], strict=True)]
        assert metrics[f"{split}_perplexity"] == pytest.approx(math.exp(-np.mean(by_word)), rel=1e-5), split
    rows = history(tmp_path / "step")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[-1]["test_perplexity"] == metrics["test_perplexity"]
    best = min(range(6), key=lambda i: rows[i]["validation_perplexity"])
    assert metrics["best_epoch"] == best + 1
    assert metrics["best_epoch_validation_perplexity"] == rows[best]["validation_perplexity"]
    assert metrics["best_epoch_test_perplexity"] == rows[best]["test_perplexity"]
    assert metrics["parameters"] == 5 * 6 + 5 + 2 * 4 * 6 * (6 + 6 + 2)
    assert metrics["number_format"] == "float32"
    assert metrics["tokens_per_second"] > 0


def test_dropout_is_drawn_anew_in_each_step_and_for_each_network(dataset, tmp_path, monkeypatch):
    # PyTorch's generator on the CPU starts from the lower 32 bits only.
    seeds, own = [], torch.manual_seed
    monkeypatch.setattr(torch, "manual_seed", lambda seed: (seeds.append(seed % 2**32), own(seed))[1])
    for member in (1, 2):
        train(tmp_path / f"seeds{member}", dataset, member=member)
    assert len(set(seeds)) == len(seeds) == 2 * (1 + EPOCHS * CHUNKS)
    for name, numbers in (("one", {}), ("same", {"member": 0}), ("member", {"member": 1}), ("generation", {"generation": 1})):
        train(tmp_path / name, dataset, **numbers)
    assert_same_bits(tmp_path / "one", tmp_path / "same")
    losses = {history(tmp_path / name)[0]["train_loss"] for name in ("one", "member", "generation")}
    assert len(losses) == 3


def test_a_divergence_names_epoch_and_step(dataset, tmp_path):
    recipe = {"learning_rate": 1e38, "clip_norm": 1e38}
    with pytest.raises(DivergedError, match=r"not finite in epoch 1, step \d.*recipe\.learning_rate = 1e\+38"):
        train(tmp_path / "step", dataset, recipe=recipe)
    with pytest.raises(DivergedError, match=r"the validation perplexity is not finite after epoch 1, step 5"):
        train(tmp_path / "step", dataset, recipe={"learning_rate": 1e4, "clip_norm": 1e4})


def test_a_small_lstm_learns_more_of_real_words_than_their_frequencies(tmp_path):
    corpus = load_pydoc(vocabulary=1000)
    write_dataset(tmp_path / "dataset", corpus)
    counts = np.bincount(corpus.tokens["train"], minlength=1000) + 1
    unigram = {split: math.exp(-np.log(counts / counts.sum())[tokens[1:]].mean()) for split, tokens in corpus.tokens.items()}
    recipe = {"batch_size": 20, "unrolled_steps": 35, "clip_norm": 5.0, "evaluation_batch_size": 10}
    network = {"width": 64, "layers": 1, "dropout": 0.1, "init_range": 0.1}
    metrics = train(tmp_path / "step", tmp_path / "dataset", recipe=recipe, network=network)
    for split in ("train", "validation", "test"):
        assert metrics[f"{split}_perplexity"] < 0.8 * unigram[split], (split, unigram)
