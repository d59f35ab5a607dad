"""RKD against loops over pairs and triples in NumPy float64."""

import numpy as np
import pytest
import torch

from gendistill.objectives import rkd
from tests.objective_formulas import cross_entropy, draw, outputs, slopes, tensors

WEIGHTS = {"label_weight": 1.0, "distance_weight": 25.0, "angle_weight": 50.0}


def huber(x):
    return x * x / 2 if abs(x) <= 1 else abs(x) - 0.5


def distance_term(own, other):
    count = len(own)

    def relations(x):
        d = {(i, j): np.linalg.norm(x[i] - x[j]) for i, j in np.ndindex(count, count)}
        mean = np.mean([d[i, j] for i, j in d if i != j])
        return {pair: value / mean for pair, value in d.items()}

    a, b = relations(own), relations(other)
    return sum(huber(a[pair] - b[pair]) for pair in a) / count**2


def angle_term(own, other):
    count = len(own)

    def cosine(x, i, j, k):
        a, b = x[i] - x[j], x[i] - x[k]
        lengths = np.linalg.norm(a) * np.linalg.norm(b)
        return a @ b / lengths if lengths else 0.0

    triples = list(np.ndindex(count, count, count))
    return sum(huber(cosine(own, *t) - cosine(other, *t)) for t in triples) / count**3


def terms(own, other, weights=WEIGHTS, batch=None):
    z, y, t = tensors(*outputs(batch or len(own)))
    return rkd.loss(z, y, t, features=own, teacher_features=other, **weights)


@pytest.mark.parametrize("change", [{}, {"label_weight": 0.0}, {"distance_weight": 1.0}, {"angle_weight": 2.0}])
def test_values_are_those_of_the_formula(change):
    weights = {**WEIGHTS, **change}
    own, other = draw((5, 3), (5, 7))
    # Far apart, so that the linear part of Huber's loss is met too.
    other[0] *= 40
    z, y, _ = outputs(5)
    expected = {
        "label": weights["label_weight"] * cross_entropy(z, y),
        "distance": weights["distance_weight"] * distance_term(own, other),
        "angle": weights["angle_weight"] * angle_term(own, other),
    }
    found = terms(*tensors(own, other), weights)
    assert {name: term.item() for name, term in found.items()} == pytest.approx(expected, rel=1e-12)


def test_values_by_hand():
    # Three places on a line at 0, 1 and 3, and a triangle of sides 3, 4 and 5 with the right angle at the second place.
    own = rkd.differences(torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.double))
    other = rkd.differences(torch.tensor([[3.0, 0.0], [0.0, 0.0], [0.0, 4.0]], dtype=torch.double))
    assert rkd.distances(own).tolist() == [[0, 0.5, 1.5], [0.5, 0, 1], [1.5, 1, 0]]
    assert rkd.distances(other).tolist() == [[0, 0.75, 1.25], [0.75, 0, 1], [1.25, 1, 0]]
    assert rkd.cosines(own)[1].tolist() == [[1, 0, -1], [0, 0, 0], [-1, 0, 1]]
    assert torch.allclose(rkd.cosines(other)[0], torch.tensor([[0, 0, 0], [0, 1, 0.6], [0, 0.6, 1]], dtype=torch.double))
    assert torch.allclose(rkd.cosines(other)[1], torch.tensor([[1, 0, 0], [0, 0, 0], [0, 0, 1]], dtype=torch.double))


@pytest.mark.parametrize(("name", "formula"), [("distance", distance_term), ("angle", angle_term)])
def test_gradient_is_that_of_the_formula_and_none_for_the_teacher(name, formula):
    own, other = draw((4, 3), (4, 2))
    a, b = (x.requires_grad_() for x in tensors(own, other))
    terms(a, b, {"label_weight": 1.0, "distance_weight": 1.0, "angle_weight": 1.0})[name].backward()
    np.testing.assert_allclose(a.grad, slopes(lambda: formula(own, other), own), rtol=1e-5, atol=1e-9)
    assert b.grad is None


def test_scale_shift_and_rotation_do_not_matter():
    (other,) = tensors(*draw((6, 3)))
    rotation, _ = torch.linalg.qr(torch.tensor(draw((3, 3), seed=3)[0]))
    found = terms(5 * other @ rotation + 7, other)
    assert found["distance"].item() == pytest.approx(0, abs=1e-14)
    assert found["angle"].item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "features", [[[1.0, 2.0]], [[1.0, 2.0], [1.0, 2.0]], [[1.0, 2.0], [1.0, 2.0], [0.0, 5.0]], [[0.0, 0.0], [0.0, 0.0]]]
)
def test_single_and_equal_samples_have_small_finite_gradients(features):
    own = torch.tensor(features, requires_grad=True)
    found = terms(own, torch.tensor(draw((len(own), 4))[0]).float())
    sum(found.values()).backward()
    assert all(term.isfinite() for term in found.values())
    assert own.grad.abs().max() < 1000
