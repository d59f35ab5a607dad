"""Language models and their perplexity, against formulas written out in NumPy."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import yaml

from gendistill.errors import SettingError
from gendistill.language.corpus import Corpus
from gendistill.language.evaluate import perplexity, streams
from gendistill.networks.cnn_lstm import CNNLSTM, spell
from gendistill.networks.lstm import LSTM
from gendistill.targets import instantiate
from tests.conftest import ROOT

WORDS = ["the", "<eos>", "cat", "<unk>", "N", "dog", "saw"]
VOCABULARY = ["the", "cat", "dog", "saw", "<eos>"]
# Of 10,000 made-up words with 48 different characters.
MANY = ["".join(chr(48 + (i // 48**k) % 48) for k in range(3)) for i in range(10_000)]


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("lstm_1500", 10_000 * 1500 + 10_000 + 2 * 4 * 1500 * (1500 + 1500 + 2)),
        ("lstm_1500_one_layer", 10_000 * 1500 + 10_000 + 4 * 1500 * (1500 + 1500 + 2)),
        (
            "cnn_lstm",
            (48 + 3) * 15
            + sum((15 * w + 1) * min(200, 50 * w) for w in range(1, 8))
            + 2 * 2 * (1100 * 1100 + 1100)
            + 4 * 650 * (1100 + 650 + 2)
            + 4 * 650 * (650 + 650 + 2)
            + 651 * 10_000,
        ),
    ],
)
def test_parameter_counts_are_those_of_the_papers(name, count):
    with torch.device("meta"):
        network = instantiate(yaml.safe_load((ROOT / f"config/network/{name}.yaml").read_text()))(vocabulary=MANY)
    found = sum(p.numel() for p in network.parameters())
    assert found == count
    assert round(found / 1e6, 1) == {"lstm_1500": 51.0, "lstm_1500_one_layer": 33.0, "cnn_lstm": 19.4}[name]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def plain_lstm(weights, prefix, x, h, c):
    """One layer over (T, B, inputs), gates in the order input, forget, cell, output."""
    w = {name: weights[f"{prefix}.{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    outputs = []
    for step in x:
        gates = step @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"]
        i, f, g, o = np.split(gates, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs), h, c


def numpy_weights(network):
    return {name: value.double().numpy() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("tied", [True, False])
def test_the_lstm_is_that_of_the_formula(tied):
    torch.manual_seed(0)
    network = LSTM(WORDS, width=5, layers=2, dropout=0.5, tied=tied, init_range=0.5).eval()
    state = (torch.randn(2, 3, 5), torch.randn(2, 3, 5))
    tokens = torch.randint(7, (4, 3))
    logits, (hidden, cell) = network(tokens, state)
    w = numpy_weights(network)
    x = w["embedding.weight"][tokens]
    for layer in range(2):
        x, h, c = plain_lstm(w, f"layers.layers.{layer}", x, state[0][layer].numpy(), state[1][layer].numpy())
        np.testing.assert_allclose(hidden[layer].detach(), h, atol=1e-6)
        np.testing.assert_allclose(cell[layer].detach(), c, atol=1e-6)
    expected = x @ w["embedding.weight" if tied else "weight"].T + w["bias"]
    assert logits.dtype == torch.float32
    np.testing.assert_allclose(logits.detach(), expected, atol=1e-5)


def test_weights_start_uniform_in_their_range_and_the_state_at_zero():
    network = LSTM(WORDS, width=60, layers=1, dropout=0.5, tied=True, init_range=0.04)
    for weight in network.parameters():
        assert 0.02 < weight.abs().max() <= 0.04
        assert weight.min() < 0 < weight.max()
    assert [(part.shape, part.abs().max()) for part in network.initial_state(3)] == [((1, 3, 60), 0)] * 2


def test_dropout_leaves_the_recurrent_connections_alone():
    torch.manual_seed(0)
    network = LSTM(WORDS, width=50, layers=2, dropout=0.5, tied=False, init_range=0.5).train()
    inputs = []
    for layer in network.layers.layers:
        layer.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    _, (hidden, _) = network(torch.zeros(1, 1, dtype=torch.int64), network.initial_state(1))
    for x in inputs:
        assert 0.2 < (x == 0).float().mean() < 0.8
    assert (hidden != 0).all()
    # What is kept is doubled.
    kept = inputs[1] != 0
    torch.testing.assert_close(inputs[1][kept], 2 * hidden[:1][kept])


def test_spelling():
    # Numbers follow the code points: a is 3, c is 4, t is 5.
    assert spell(["cat", "at", ""], at_least=6).tolist() == [[1, 4, 3, 5, 2, 0], [1, 3, 5, 2, 0, 0], [1, 2, 0, 0, 0, 0]]
    assert spell(["cat"], at_least=2).tolist() == [[1, 4, 3, 5, 2]]


def test_the_cnn_lstm_is_that_of_the_formula():
    torch.manual_seed(0)
    network = CNNLSTM(WORDS, 3, 4, 2, 5, highways=2, width=4, layers=1, dropout=0.5, init_range=0.5).eval()
    state = (torch.randn(1, 3, 4), torch.randn(1, 3, 4))
    tokens = torch.tensor([[0, 1, 2], [2, 2, 6]])
    logits, _ = network(tokens, state)
    w = numpy_weights(network)
    assert not w["characters.weight"][0].any()
    assert [w[f"filters.{i}.weight"].shape for i in range(4)] == [(2, 3, 1), (4, 3, 2), (5, 3, 3), (5, 3, 4)]
    characters = w["characters.weight"][spell(WORDS, 4).numpy()]
    vectors = []
    for word in characters:
        parts = []
        for width in range(1, 5):
            f, b = w[f"filters.{width - 1}.weight"], w[f"filters.{width - 1}.bias"]
            at = [np.tanh(np.einsum("fcw,wc->f", f, word[i : i + width]) + b) for i in range(len(word) - width + 1)]
            parts.append(np.max(at, axis=0))
        x = np.concatenate(parts)
        for i in range(2):
            gate = sigmoid(w[f"highways.{i}.gate.weight"] @ x + w[f"highways.{i}.gate.bias"])
            transformed = np.maximum(w[f"highways.{i}.transform.weight"] @ x + w[f"highways.{i}.transform.bias"], 0)
            x = gate * transformed + (1 - gate) * x
        vectors.append(x)
    x, _, _ = plain_lstm(w, "layers.layers.0", np.array(vectors)[tokens], state[0][0].numpy(), state[1][0].numpy())
    np.testing.assert_allclose(logits.detach(), x @ w["output.weight"].T + w["output.bias"], atol=1e-5)
    assert -2.5 <= w["highways.0.gate.bias"].min() <= w["highways.0.gate.bias"].max() <= -1.5


def tiny_corpus():
    """Words that follow each other in order, mostly."""
    generator = np.random.default_rng(0)
    tokens = {}
    for split, count in (("train", 59), ("validation", 24), ("test", 18)):
        tokens[split] = np.cumsum(generator.choice([1, 2], count, p=[0.8, 0.2])).astype(np.int32) % 5
    return Corpus(tokens, VOCABULARY)


def log_probabilities(network, tokens):
    """ln p of each next word of one text read from the zero state: (N,) -> (N - 1, V)."""
    w = numpy_weights(network)
    x, zeros = w["embedding.weight"][tokens[:-1], None], np.zeros((1, network.layers.width))
    for k in range(len(network.layers.layers)):
        x, _, _ = plain_lstm(w, f"layers.layers.{k}", x, zeros, zeros)
    logits = x[:, 0] @ w["embedding.weight"].T + w["bias"]
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def tiny_network(layers=2):
    torch.manual_seed(3)
    return LSTM(VOCABULARY, 6, layers, 0.5, True, 1.0)


def test_streams_are_parts_of_the_text_side_by_side():
    read, following = streams(torch.arange(12), 3)
    assert read.tolist() == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    assert following.tolist() == [[1, 4, 7], [2, 5, 8], [3, 6, 9]]
    with pytest.raises(SettingError, match=r"recipe\.batch_size = 12: larger than the text, which has 12 words"):
        streams(torch.arange(12), 12)


def test_perplexity_is_that_of_the_formula_for_any_number_of_steps():
    network, tokens = tiny_network(), torch.from_numpy(tiny_corpus().tokens["validation"]).long()
    network.train()
    by_word = [row[word] for row, word in zip(log_probabilities(network, tokens), tokens[1:], strict=True)]
    expected = math.exp(-np.mean(by_word))
    for steps in (1, 5, 23, 35):
        assert perplexity(network, "float32", tokens, 1, steps) == pytest.approx(expected, rel=1e-6)
    assert not network.training


def test_perplexity_of_parts_side_by_side_counts_each_word_once():
    network, tokens = tiny_network(1), torch.from_numpy(tiny_corpus().tokens["validation"]).long()
    # 23 words to predict in 4 parts: 6, 6, 6 and 5, each from the zero state.
    parts = [tokens[0:7], tokens[6:13], tokens[12:19], tokens[18:24]]
    by_word = [row[w] for part in parts for row, w in zip(log_probabilities(network, part), part[1:], strict=True)]
    assert len(by_word) == 23
    assert perplexity(network, "float32", tokens, 4, 4) == pytest.approx(math.exp(-np.mean(by_word)), rel=1e-6)
    alone = [log_probabilities(network, part)[0][part[1]] for part in map(torch.stack, pairwise(tokens))]
    assert perplexity(network, "float32", tokens, 99, 4) == pytest.approx(math.exp(-np.mean(alone)), rel=1e-6)
