"""Objectives of networks that learn together, against NumPy in float64 in which what teaches is held fixed."""

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from gendistill.objectives import cross_entropy, kd, mutual, netaug, one, own_teacher

BATCH, CLASSES, FEATURES = 3, 4, 5
KD = {"alpha": 0.3, "alpha_weighs": "label", "temperature": 2.0, "temperature_squared": True}


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def ce(z, y):
    return -np.mean(np.log(softmax(z)[np.arange(len(y)), y]))


def kl(z, t, temperature=1.0):
    """KL(softmax(t / T) || softmax(z / T)), mean over the batch."""
    p, q = softmax(t / temperature), softmax(z / temperature)
    return sum(p[b, k] * np.log(p[b, k] / q[b, k]) for b in range(len(z)) for k in range(z.shape[1])) / len(z)


def draw(*shape, seed=0):
    return 2 * np.random.default_rng(seed).standard_normal(shape)


def labels(seed=9):
    return np.random.default_rng(seed).integers(CLASSES, size=BATCH)


def slopes(function, values, step=1e-5):
    """Central differences of a scalar function of an array."""
    found = np.zeros_like(values)
    for place in np.ndindex(*values.shape):
        up, down = values.copy(), values.copy()
        up[place] += step
        down[place] -= step
        found[place] = (function(up) - function(down)) / (2 * step)
    return found


def check(terms, expected, leaves, functions):
    """Values of the terms, and the gradient of their sum by each leaf, which is that of a function of this leaf alone."""
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-10)
    gradients = torch.autograd.grad(sum(terms.values()), leaves)
    for leaf, gradient, function in zip(leaves, gradients, functions, strict=True):
        np.testing.assert_allclose(gradient.numpy(), slopes(function, leaf.detach().numpy()), atol=1e-8)


def leaf(values):
    return torch.tensor(values, requires_grad=True)


@pytest.mark.parametrize("peers", [2, 3, 4])
def test_mutual_learning(peers):
    z, y = draw(peers, BATCH, CLASSES), labels()
    leaves = [leaf(each) for each in z]
    terms = mutual.loss(leaves[0], torch.tensor(y), None, peer_logits=leaves, alone=cross_entropy.loss)
    pairs = [(k, j) for k in range(peers) for j in range(peers) if k != j]
    expected = {"alone": sum(ce(each, y) for each in z), "mutual": sum(kl(z[k], z[j]) for k, j in pairs) / (peers - 1)}

    def own(k):
        return lambda own: ce(own, y) + np.mean([kl(own, z[j]) for j in range(peers) if j != k])

    check(terms, expected, leaves, [own(k) for k in range(peers)])


@pytest.mark.parametrize(("branches", "temperature"), [(3, 3.0), (2, 1.0)])
def test_one(branches, temperature):
    z, y = draw(branches, BATCH, CLASSES), labels()
    gate = softmax(draw(BATCH, branches, seed=1))

    def together(z, gate):
        return np.stack([sum(gate[b, i] * z[i][b] for i in range(branches)) for b in range(BATCH)])

    fixed = together(z, gate)
    leaves = [*(leaf(each) for each in z), leaf(gate)]
    settings = {"alone": cross_entropy.loss, "temperature": temperature}
    terms = one.loss(leaves[0], torch.tensor(y), None, branch_logits=leaves[:-1], gate=leaves[-1], **settings)
    expected = {
        "branches": sum(ce(each, y) for each in z),
        "ensemble": ce(fixed, y),
        "distil": temperature**2 * sum(kl(each, fixed, temperature) for each in z),
    }

    def own(i):
        def function(values):
            changed = [*z[:i], values, *z[i + 1 :]]
            return ce(values, y) + ce(together(changed, gate), y) + temperature**2 * kl(values, fixed, temperature)

        return function

    by_gate = [lambda values: ce(together(z, values), y)]
    check(terms, expected, leaves, [*(own(i) for i in range(branches)), *by_gate])


@pytest.mark.parametrize(
    ("exits", "alpha", "lambda_", "temperature"), [(4, 0.3, 0.03, 1.0), (2, 0.8, 2.0, 3.0), (3, 1.0, 0.0, 1.0)]
)
def test_be_your_own_teacher(exits, alpha, lambda_, temperature):
    z, f, y = draw(exits, BATCH, CLASSES), draw(exits, BATCH, FEATURES, seed=1), labels()
    logits, features = [leaf(each) for each in z], [leaf(each) for each in f]
    settings = {"alone": cross_entropy.loss, "alpha": alpha, "lambda_": lambda_, "temperature": temperature}
    terms = own_teacher.loss(logits[-1], torch.tensor(y), None, exit_logits=logits, exit_features=features, **settings)

    def distance(values):
        return np.mean([np.linalg.norm(a - b) ** 2 for a, b in zip(values, f[-1], strict=True)])

    def early(values):
        return (1 - alpha) * ce(values, y), alpha * temperature**2 * kl(values, z[-1], temperature)

    expected = {
        "label": ce(z[-1], y) + sum(early(each)[0] for each in z[:-1]),
        "outputs": sum(early(each)[1] for each in z[:-1]),
        "features": lambda_ * sum(distance(each) for each in f[:-1]),
    }
    of_logits = [*[lambda values: sum(early(values))] * (exits - 1), lambda values: ce(values, y)]
    check(terms, expected, [*logits, *features[:-1]], [*of_logits, *[lambda values: lambda_ * distance(values)] * (exits - 1)])
    (to_deepest,) = torch.autograd.grad(terms["features"], features[-1:], allow_unused=True)
    assert to_deepest is None


@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.5])
def test_netaug(alpha):
    z, y = draw(2, BATCH, CLASSES), labels()
    base, wider = leaf(z[0]), leaf(z[1])
    terms = netaug.loss(base, torch.tensor(y), None, augmented_logits=wider, alone=cross_entropy.loss, alpha=alpha)
    functions = [lambda values: ce(values, y), lambda values: alpha * ce(values, y)]
    check(terms, {"base": ce(z[0], y), "augmented": alpha * ce(z[1], y)}, [base, wider], functions)


def test_each_network_may_learn_from_a_teacher_too():
    z, t, y = draw(2, BATCH, CLASSES), draw(BATCH, CLASSES, seed=5), labels()

    def alone(logits, labels, teacher_logits):
        return kd.loss(logits, labels, teacher_logits, **KD)

    def expected(each):
        p, log_q = softmax(t / 2), np.log(softmax(each / 2))
        return 0.3 * ce(each, y) - 0.7 * 4 * np.mean(np.sum(p * log_q, axis=1))

    both, target, teacher = [torch.tensor(each) for each in z], torch.tensor(y), torch.tensor(t)
    found = mutual.loss(both[0], target, teacher, peer_logits=both, alone=alone)
    assert found["alone"].item() == pytest.approx(expected(z[0]) + expected(z[1]))
    found = netaug.loss(both[0], target, teacher, augmented_logits=both[1], alone=alone, alpha=0.5)
    assert found["augmented"].item() == pytest.approx(0.5 * expected(z[1]))
    gate = torch.full((BATCH, 2), 0.5, dtype=torch.float64)
    found = one.loss(both[0], target, teacher, branch_logits=both, gate=gate, alone=alone, temperature=3.0)
    assert found["ensemble"].item() == pytest.approx(expected((z[0] + z[1]) / 2))
    settings = {"alone": alone, "alpha": 0.25, "lambda_": 0.0, "temperature": 1.0}
    found = own_teacher.loss(both[1], target, teacher, exit_logits=both, exit_features=both, **settings)
    assert found["label"].item() == pytest.approx(0.75 * expected(z[0]) + expected(z[1]))


@pytest.mark.parametrize("module", [mutual, one, own_teacher, netaug])
def test_settings_file_names_all_that_the_loss_takes(module):
    name = module.__name__.rpartition(".")[2]
    settings = yaml.safe_load((Path(__file__).parents[1] / "config" / "objective" / f"{name}.yaml").read_text())
    taken = [p.name.rstrip("_") for p in inspect.signature(module.loss).parameters.values() if p.kind is p.KEYWORD_ONLY]
    own = [key for key in settings if key not in ("name", "_target_", "trains", "needs")]
    assert sorted(settings["needs"] + own) == sorted(taken)
    assert settings["trains"] == "any"
