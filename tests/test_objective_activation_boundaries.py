"""Activation boundaries against loops over neurons in NumPy float64."""

import numpy as np
import pytest
import torch
from torch import nn

from gendistill.objectives import activation_boundaries
from tests.objective_formulas import cross_entropy, draw, outputs, soft_cross_entropy, tensors

SHAPES, TEACHER_SHAPES = [(2, 2, 2), (3, 1, 2), (2, 1, 1)], [(4, 2, 2), (2, 1, 2), (3, 1, 1)]
SECOND = {"label_weight": 0.0, "lambda_": 1.0, "temperature": 3.0, "temperature_squared": True, "beta": 0.0}


def maps(batch=4):
    return [draw(*((batch, *shape) for shape in shapes), seed=i) for i, shapes in enumerate((SHAPES, TEACHER_SHAPES))]


def connectors():
    torch.manual_seed(0)
    return activation_boundaries.parts(SHAPES, TEACHER_SHAPES).double()


def connected(connector, s):
    """A matrix at each place, then batch norm with its first weights."""
    weight = connector[0].weight.detach().numpy()[:, :, 0, 0]
    y = np.einsum("oc,bchw->bohw", weight, s)
    return (y - y.mean(axis=(0, 2, 3), keepdims=True)) / np.sqrt(y.var(axis=(0, 2, 3), keepdims=True) + 1e-5)


def hinge(s, t, margin):
    total = 0.0
    for place in np.ndindex(s.shape):
        if t[place] > 0:
            total += max(margin - s[place], 0) ** 2
        else:
            total += max(margin + s[place], 0) ** 2
    return total / len(s)


def distance(own, other, parts, margin):
    costs = [hinge(connected(r, s), t, margin) for s, t, r in zip(own, other, parts, strict=True)]
    return 0.003 * (costs[0] / 4 + costs[1] / 2 + costs[2])


@pytest.mark.parametrize("margin", [0.0, 1.0, 2.5])
def test_first_stage_is_the_hinge_of_all_groups(margin):
    (own, other), parts = maps(), connectors()
    found = {"maps": tensors(*own), "teacher_maps": tensors(*other)}
    terms = activation_boundaries.first_loss(None, None, None, **found, parts=parts, margin=margin)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {"boundaries": distance(own, other, parts, margin)}, rel=1e-10
    )


@pytest.mark.parametrize(
    # Active neurons are pushed above 1, silent ones (0 is silent) below -1; beyond that they cost nothing.
    ("student", "teacher", "expected"),
    [(0.5, 3.0, 0.25), (1.5, 3.0, 0.0), (-1.0, 3.0, 4.0), (0.5, -3.0, 2.25), (-1.5, -3.0, 0.0), (0.5, 0.0, 2.25)],
)
def test_a_neuron_by_hand(student, teacher, expected):
    own, other = torch.tensor([[[[student]]], [[[9.0]]]]), torch.tensor([[[[teacher]]], [[[1.0]]]])
    assert activation_boundaries.hinge(own, other, 1.0).item() == expected / 2


@pytest.mark.parametrize(
    "change", [{}, {"label_weight": 1.0}, {"lambda_": 0.5}, {"temperature": 4.0}, {"temperature_squared": False}, {"beta": 2.0}]
)
def test_second_stage_is_the_teachers_outputs(change):
    settings = {**SECOND, **change}
    (z, y, t), (own, other), parts = outputs(4), maps(), connectors()
    found = {"maps": tensors(*own), "teacher_maps": tensors(*other)}
    terms = activation_boundaries.loss(*tensors(z, y, t), **found, parts=parts, margin=1.0, **settings)
    factor = settings["temperature"] ** 2 if settings["temperature_squared"] else 1
    expected = {
        "label": settings["label_weight"] * cross_entropy(z, y),
        "soft": settings["lambda_"] * factor * soft_cross_entropy(z, t, settings["temperature"]),
    }
    if settings["beta"]:
        expected["boundaries"] = settings["beta"] * distance(own, other, parts, 1.0)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-10)


def test_gradient_is_that_of_the_formula_and_none_for_the_teacher():
    own, other = ([x.requires_grad_() for x in tensors(*found)] for found in maps())
    parts, constants = connectors(), [x.detach() for x in other]
    assert torch.autograd.gradcheck(lambda *own: activation_boundaries.boundary_distance(own, constants, parts, 1.0), own)
    activation_boundaries.boundary_distance(own, other, parts, 1.0).backward()
    assert all(x.grad is None for x in other)
    assert all(weight.grad.abs().sum() > 0 for weight in parts.parameters())


def test_single_images_are_safe():
    parts = activation_boundaries.parts([(2, 2, 2)], [(3, 2, 2)])
    value = activation_boundaries.boundary_distance([torch.zeros(1, 2, 2, 2)], [torch.ones(1, 3, 2, 2)], parts, 1.0)
    assert value.item() == pytest.approx(0.003 * 12)


def test_the_student_learns_the_teachers_side_of_zero():
    torch.manual_seed(0)
    images = torch.randn(32, 3, 4, 4)
    teacher, student = nn.Conv2d(3, 6, 3, padding=1)(images).detach(), nn.Conv2d(3, 4, 3, padding=1)
    parts = activation_boundaries.parts([(4, 4, 4)], [(6, 4, 4)])
    optimizer = torch.optim.SGD([*student.parameters(), *parts.parameters()], lr=0.1, momentum=0.9)

    def agreement():
        return ((parts[0](student(images)) > 0) == (teacher > 0)).float().mean().item()

    before = agreement()
    for _ in range(60):
        optimizer.zero_grad()
        terms = activation_boundaries.first_loss(
            None, None, None, maps=[student(images)], teacher_maps=[teacher], parts=parts, margin=1.0
        )
        terms["boundaries"].backward()
        optimizer.step()
    assert before < 0.6
    assert agreement() > 0.75
