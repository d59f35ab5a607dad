"""NST against loops over pairs of channels in NumPy float64."""

import numpy as np
import pytest
import torch

from gendistill.objectives import nst
from tests.objective_formulas import cross_entropy, draw, outputs, slopes, tensors

KERNELS = ["linear", "polynomial", "gaussian"]
SHAPES, TEACHER_SHAPES = [(3, 2, 2), (2, 3, 1)], [(4, 2, 2), (2, 3, 1)]


def maps(batch=3):
    return [draw(*((batch, *shape) for shape in shapes), seed=i) for i, shapes in enumerate((SHAPES, TEACHER_SHAPES))]


def channels(image):
    """The channels of one image, (C, H, W), as vectors of length 1."""
    vectors = [channel.ravel() for channel in image]
    return [v / np.linalg.norm(v) if np.linalg.norm(v) else v for v in vectors]


def variance(s, t):
    return np.mean([np.sum((x - y) ** 2) for x in s for y in t])


def mmd_squared(own, other, kernel, variances=None):
    """The mean over the images; `variances` takes the place of the Gaussian's own."""
    total = 0.0
    for b in range(len(own)):
        s, t = channels(own[b]), channels(other[b])
        width = variances[b] if variances else variance(s, t)
        k = {
            "linear": lambda x, y: x @ y,
            "polynomial": lambda x, y: (x @ y) ** 2,
            "gaussian": lambda x, y, width=width: np.exp(-np.sum((x - y) ** 2) / (2 * width)),
        }[kernel]
        total += np.mean([k(x, y) for x in t for y in t]) + np.mean([k(x, y) for x in s for y in s])
        total -= 2 * np.mean([k(x, y) for x in t for y in s])
    return total / len(own)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("label_weight", "lambda_"), [(1.0, 50.0), (0.0, 3.0)])
def test_value_is_that_of_the_formula(kernel, label_weight, lambda_):
    (z, y, t), (own, other) = outputs(), maps()
    found = {"maps": tensors(*own), "teacher_maps": tensors(*other)}
    terms = nst.loss(*tensors(z, y, t), **found, label_weight=label_weight, lambda_=lambda_, kernel=kernel)
    distance = sum(mmd_squared(a, b, kernel) for a, b in zip(own, other, strict=True))
    expected = {"label": label_weight * cross_entropy(z, y), "selectivity": lambda_ / 2 * distance}
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("kernel", "expected"),
    # t has one channel (1, 0), s the channels (1, 0) and (0, 1): k(t, t) = 1, the mean of k(s, s) is 1/2, or (2 + 2 k) / 4,
    # that of k(t, s) is 1/2, or (1 + k) / 2, with k = exp(-2 / 2 sigma^2) and sigma^2 the mean of 0 and 2.
    [("linear", 0.5), ("polynomial", 0.5), ("gaussian", 1 + (1 + np.exp(-1)) / 2 - (1 + np.exp(-1)))],
)
def test_values_by_hand(kernel, expected):
    own, other = torch.tensor([[[[5.0, 0.0]], [[0.0, 2.0]]]]), torch.tensor([[[[3.0, 0.0]]]])
    assert nst.mmd_squared(own, other, kernel).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_gradient_is_that_of_the_formula_at_a_constant_width(kernel):
    (own, _), (other, _) = maps()
    variances = [variance(channels(a), channels(b)) for a, b in zip(own, other, strict=True)]
    a, b = (x.requires_grad_() for x in tensors(own, other))
    nst.mmd_squared(a, b, kernel).backward()
    np.testing.assert_allclose(a.grad, slopes(lambda: mmd_squared(own, other, kernel, variances), own), rtol=1e-6, atol=1e-9)
    assert b.grad is None


@pytest.mark.parametrize("kernel", KERNELS)
def test_equal_maps_have_distance_zero_in_any_order_of_channels_and_at_any_scale(kernel):
    a = tensors(*maps()[0])[0]
    assert nst.mmd_squared(a, 3 * a[:, [2, 0, 1]], kernel).item() == pytest.approx(0, abs=1e-14)
    assert nst.mmd_squared(a, a.flip(3), kernel).item() > 1e-3


@pytest.mark.parametrize("kernel", KERNELS)
def test_channels_of_zeros_and_single_images_are_safe(kernel):
    # After a ReLU a channel may be 0 everywhere; equal maps of one channel leave the Gaussian no width.
    for own in (torch.zeros(1, 2, 2, 2), torch.ones(1, 1, 2, 2)):
        own.requires_grad_()
        value = nst.mmd_squared(own, own.detach().clone(), kernel)
        value.backward()
        assert value.item() == pytest.approx(0, abs=1e-6)
        assert own.grad.isfinite().all()
