"""FSP matrices against loops over places in NumPy float64."""

import numpy as np
import pytest
import torch

from gendistill.errors import SettingError
from gendistill.networks.resnet import ResNet
from gendistill.objectives import fsp
from tests.objective_formulas import cross_entropy, draw, outputs, slopes, tensors

SHAPES = [(2, 4, 4), (3, 4, 4), (4, 2, 2)]


def maps(batch=2, seed=0):
    return draw(*((batch, *shape) for shape in SHAPES), seed=seed)


def pooled(map, size):
    """The largest value of each of the equal parts that a map of one channel, (H, W), is cut into."""
    rows, columns = (whole // part for whole, part in zip(map.shape, size, strict=True))
    out = np.empty(size)
    for i, j in np.ndindex(*size):
        out[i, j] = map[i * rows : (i + 1) * rows, j * columns : (j + 1) * columns].max()
    return out


def flow(first, last):
    """G of one image."""
    size = tuple(min(a, b) for a, b in zip(first.shape[1:], last.shape[1:], strict=True))
    first, last = ([pooled(channel, size) for channel in map] for map in (first, last))
    return np.array([[sum(a[p] * b[p] for p in np.ndindex(*size)) / np.prod(size) for b in last] for a in first])


def distance(own, other):
    total = 0.0
    for i in range(len(own) - 1):
        matrices = [[flow(a, b) for a, b in zip(found[i], found[i + 1], strict=True)] for found in (own, other)]
        total += np.mean((np.array(matrices[0]) - np.array(matrices[1])) ** 2)
    return total


def test_first_stage_is_the_mean_square_of_the_difference_of_all_matrices():
    own, other = maps(), maps(seed=1)
    terms = fsp.first_loss(None, None, None, maps=tensors(*own), teacher_maps=tensors(*other))
    assert {name: term.item() for name, term in terms.items()} == pytest.approx({"flow": distance(own, other)}, rel=1e-12)


def test_a_matrix_by_hand():
    # The first map is brought to one place by its maximum: G = 1/1 (4, 1) x (2).
    first, last = torch.tensor([[[[1.0, 4.0]], [[1.0, -2.0]]]]), torch.tensor([[[[2.0]]]])
    assert fsp.flow(first, last).tolist() == [[[8.0], [2.0]]]
    # At equal resolution all places count: (1 x 2 + 4 x 3) / 2.
    assert fsp.flow(first[:, :1], torch.tensor([[[[2.0, 3.0]]]])).tolist() == [[[7.0]]]


@pytest.mark.parametrize(("label_weight", "beta"), [(1.0, 0.0), (0.5, 0.0), (1.0, 50.0)])
def test_second_stage_is_the_labels(label_weight, beta):
    (z, y, t), own, other = outputs(2), maps(), maps(seed=1)
    found = {"maps": tensors(*own), "teacher_maps": tensors(*other)}
    terms = fsp.loss(*tensors(z, y, t), **found, label_weight=label_weight, beta=beta)
    expected = {"label": label_weight * cross_entropy(z, y)} | ({"flow": beta * distance(own, other)} if beta else {})
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-12)


def test_gradient_is_that_of_the_formula_and_none_for_the_teacher():
    own, other = maps(), maps(seed=1)
    a, b = ([x.requires_grad_() for x in tensors(*found)] for found in (own, other))
    fsp.flow_distance(a, b).backward()
    for map, found in zip(own, a, strict=True):
        np.testing.assert_allclose(found.grad, slopes(lambda: distance(own, other), map), rtol=1e-6, atol=1e-9)
    assert all(x.grad is None for x in b)


def test_first_stage_reaches_all_of_the_student_but_its_classifier():
    torch.manual_seed(0)
    student, teacher = (ResNet(1, 3, depth=depth, width=2) for depth in (8, 14))
    images = torch.randn(2, 1, 8, 8)
    found = [[network.begin(images), *network.maps(images)] for network in (student, teacher)]
    names = dict(student.named_parameters())
    value = fsp.first_loss(None, None, None, maps=found[0], teacher_maps=found[1])["flow"]
    gradients = torch.autograd.grad(value, list(names.values()), allow_unused=True)
    unreached = {name for name, gradient in zip(names, gradients, strict=True) if gradient is None}
    assert unreached == {"classifier.weight", "classifier.bias"}


def test_maps_of_zeros_and_single_images_are_safe():
    own = [torch.zeros(1, *shape, requires_grad=True) for shape in SHAPES]
    value = fsp.flow_distance(own, [torch.ones(1, *shape) for shape in SHAPES])
    value.backward()
    assert value.item() == 2
    assert all(map.grad.isfinite().all() for map in own)


def test_channels_must_be_equal_but_not_resolutions():
    fsp.check([(16, 32, 32), (32, 16, 16)], [(16, 28, 28), (32, 14, 14)])


@pytest.mark.parametrize(
    ("own", "other"),
    [
        ([(16, 8, 8), (16, 8, 8)], [(16, 8, 8), (32, 8, 8)]),
        ([(16, 8, 8), (16, 8, 8)], [(16, 8, 8)]),
        ([(16, 8, 8)], [(16, 8, 8)]),
        ([(16,), (16,)], [(16,), (16,)]),
        ([], []),
    ],
)
def test_maps_that_do_not_fit_are_refused(own, other):
    with pytest.raises(SettingError, match=r"objective\.taps.*channels"):
        fsp.check(own, other)
