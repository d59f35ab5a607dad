"""Attention by gradients: double backward through a small network, against a network whose gradients are known by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gendistill.networks.resnet import ResNet
from gendistill.objectives import attention_gradient
from tests.objective_formulas import cross_entropy, draw, log_softmax, slopes

BATCH, CLASSES, SHAPE = 3, 4, (2, 2, 2)
LABELS = np.array([0, 3, 1])


def linear():
    """Weights, images and the teacher's gradients of a network that is one linear layer."""
    weight, images, other = draw((CLASSES, 8), (BATCH, *SHAPE), (BATCH, *SHAPE))
    return weight, images, other


def distance(weight, images, other, squared):
    """The gradient of -ln q_y by the image is (q - onehot) W."""
    q = np.exp(log_softmax(images.reshape(BATCH, -1) @ weight.T))
    gradient = (q - np.eye(CLASSES)[LABELS]) @ weight
    norms = np.linalg.norm(gradient - other.reshape(BATCH, -1), axis=1)
    return np.mean(norms**2 if squared else norms)


def loss(weight, images, other, **settings):
    shown = torch.tensor(images, requires_grad=True)
    logits = shown.flatten(1) @ weight.T
    return attention_gradient.loss(
        logits, torch.tensor(LABELS), None, input=shown, teacher_input_gradient=torch.tensor(other), **settings
    )


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize(("label_weight", "beta"), [(1.0, 1.0), (0.0, 6.0)])
def test_value_is_that_of_the_formula(squared, label_weight, beta):
    weight, images, other = linear()
    terms = loss(torch.tensor(weight), images, other, label_weight=label_weight, beta=beta, squared=squared)
    expected = {
        "label": label_weight * cross_entropy(images.reshape(BATCH, -1) @ weight.T, LABELS),
        "gradient": beta / 2 * distance(weight, images, other, squared),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("squared", [True, False])
def test_gradient_by_the_weights_is_that_of_the_formula(squared):
    weight, images, other = linear()
    own = torch.tensor(weight, requires_grad=True)
    loss(own, images, other, label_weight=0.0, beta=2.0, squared=squared)["gradient"].backward()
    expected = slopes(lambda: distance(weight, images, other, squared), weight)
    np.testing.assert_allclose(own.grad, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("squared", "expected"), [(True, 12.5), (False, 2.5)])
def test_values_by_hand(squared, expected):
    # Differences (3, 4) and (0, 0).
    own, other = torch.tensor([[[[3.0, 0.0]]], [[[1.0, 2.0]]]]), torch.tensor([[[[0.0, -4.0]]], [[[1.0, 2.0]]]])
    assert attention_gradient.distance(own, other, squared).item() == pytest.approx(expected)


def test_second_derivatives_of_a_network_with_batch_norm_by_finite_differences():
    torch.manual_seed(0)
    # Softplus for ReLU: finite differences of a gradient need a smooth one.
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Softplus(), nn.Flatten(), nn.Linear(18, 3)
    ).double()
    images, other, labels = torch.randn(4, 1, 3, 3).double(), torch.randn(4, 1, 3, 3).double(), torch.tensor([0, 1, 2, 0])

    def value(*weights):
        shown = images.clone().requires_grad_()
        logits = torch.func.functional_call(network, dict(zip(names, weights, strict=True)), shown)
        given = {"input": shown, "teacher_input_gradient": other}
        return attention_gradient.loss(logits, labels, None, **given, label_weight=1.0, beta=1.0, squared=True)["gradient"]

    names, weights = zip(*network.named_parameters(), strict=True)
    assert torch.autograd.gradcheck(value, weights)


@pytest.mark.parametrize("squared", [True, False])
def test_a_student_that_equals_its_teacher_has_distance_zero_and_a_finite_gradient(squared):
    torch.manual_seed(0)
    network = ResNet(1, 3, depth=8, width=2)
    labels = torch.tensor([0, 1])
    shown = torch.randn(2, 1, 8, 8, requires_grad=True)
    logits = network(shown)
    (own,) = torch.autograd.grad(F.cross_entropy(logits, labels, reduction="sum"), shown, retain_graph=True)
    given = {"input": shown, "teacher_input_gradient": own.requires_grad_()}
    terms = attention_gradient.loss(logits, labels, None, **given, label_weight=1.0, beta=1.0, squared=squared)
    assert terms["gradient"].item() == pytest.approx(0, abs=1e-10)
    gradients = torch.autograd.grad(sum(terms.values()), list(network.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert own.grad is None


def test_no_gradient_flows_to_the_teacher():
    own, other = (torch.tensor(x, requires_grad=True) for x in draw((2, 1, 2, 2), (2, 1, 2, 2)))
    attention_gradient.distance(own, other, squared=True).backward()
    assert other.grad is None
    assert own.grad.abs().sum() > 0
