"""FitNets: hints through a regressor and then KD, and weights through a linear map, against NumPy float64."""

import numpy as np
import pytest
import torch
from torch import nn

from gendistill.errors import SettingError
from gendistill.networks.resnet import ResNet
from gendistill.objectives import fitnets, fitnets_weights
from tests.objective_formulas import cross_entropy, draw, outputs, soft_cross_entropy, tensors

SHAPES, TEACHER_SHAPES = [(2, 3, 3), (4, 1, 2)], [(3, 3, 3), (5, 1, 2)]
SECOND = {"label_weight": 1.0, "lambda_": 4.0, "temperature": 3.0, "temperature_squared": False, "beta": 0.0}
WEIGHTS, TEACHER_WEIGHTS = [(2, 3, 3, 3), (4, 2)], [(3, 5, 3, 3), (6, 2)]


def maps(batch=2):
    return [draw(*((batch, *shape) for shape in shapes), seed=i) for i, shapes in enumerate((SHAPES, TEACHER_SHAPES))]


def regressors(relu=True):
    torch.manual_seed(0)
    return fitnets.parts(SHAPES, TEACHER_SHAPES, relu=relu).double()


def regressed(regress, v, relu):
    """A 1x1 convolution is one matrix at each place; then batch norm with its first weights."""
    weight = regress[0].weight.detach().numpy()
    out = np.empty((v.shape[0], len(weight), *v.shape[2:]))
    for b, i, j in np.ndindex(v.shape[0], *v.shape[2:]):
        out[b, :, i, j] = weight[:, :, 0, 0] @ v[b, :, i, j]
    out = (out - out.mean(axis=(0, 2, 3), keepdims=True)) / np.sqrt(out.var(axis=(0, 2, 3), keepdims=True) + 1e-5)
    return np.maximum(out, 0) if relu else out


def hint_distance(own, other, parts, relu=True):
    return sum(np.mean((u - regressed(r, v, relu)) ** 2) / 2 for v, u, r in zip(own, other, parts, strict=True))


@pytest.mark.parametrize("relu", [True, False])
def test_first_stage_is_half_the_mean_square_through_the_regressors(relu):
    own, other = maps()
    parts = regressors(relu)
    terms = fitnets.first_loss(*tensors(*outputs(2)), maps=tensors(*own), teacher_maps=tensors(*other), parts=parts)
    assert terms["hint"].item() == pytest.approx(hint_distance(own, other, parts, relu), rel=1e-10)
    assert set(terms) == {"hint"}
    assert not list(parts.buffers())


def test_a_hint_by_hand():
    regress = nn.Conv2d(1, 1, 1)
    with torch.no_grad():
        regress.weight.fill_(2.0)
        regress.bias.fill_(1.0)
    own, hint = torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[0.0, 8.0]]]])
    # Regressed to 3 and 7: half the mean of 9 and 1.
    assert fitnets.hint_distance([own], [hint], [regress]).item() == 2.5


@pytest.mark.parametrize(
    "change", [{}, {"label_weight": 0.5}, {"lambda_": 1.0}, {"temperature": 1.0}, {"temperature_squared": True}, {"beta": 100.0}]
)
def test_second_stage_is_labels_and_the_teachers_outputs(change):
    settings = {**SECOND, **change}
    (z, y, t), (own, other), parts = outputs(2), maps(), regressors()
    terms = fitnets.loss(*tensors(z, y, t), maps=tensors(*own), teacher_maps=tensors(*other), parts=parts, **settings)
    factor = settings["temperature"] ** 2 if settings["temperature_squared"] else 1
    expected = {
        "label": settings["label_weight"] * cross_entropy(z, y),
        "soft": settings["lambda_"] * factor * soft_cross_entropy(z, t, settings["temperature"]),
    }
    if settings["beta"]:
        expected["hint"] = settings["beta"] * hint_distance(own, other, parts)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-10)


def test_hints_have_the_gradient_of_the_formula_and_none_for_the_teacher():
    own, other = ([x.requires_grad_() for x in tensors(*found)] for found in maps())
    parts = regressors()
    assert torch.autograd.gradcheck(lambda *own: fitnets.hint_distance(own, [x.detach() for x in other], parts), own)
    fitnets.hint_distance(own, other, parts).backward()
    assert all(x.grad is None for x in other)


def test_first_stage_reaches_the_student_up_to_the_guided_layer():
    torch.manual_seed(0)
    student, parts = ResNet(1, 3, depth=8, width=2), fitnets.parts([(4, 4, 4)], [(6, 4, 4)], relu=True)
    found = student.maps(torch.randn(2, 1, 8, 8))
    logits = student.classifier(student.pool(found[-1]))
    terms = fitnets.first_loss(logits, None, None, maps=[found[1]], teacher_maps=[torch.randn(2, 6, 4, 4)], parts=parts)
    names = dict(student.named_parameters())
    gradients = torch.autograd.grad(terms["hint"], [*names.values(), *parts.parameters()], allow_unused=True)
    reached = {name for name, gradient in zip(names, gradients, strict=False) if gradient is not None}
    assert reached == {name for name in names if name.startswith(("stem", "norm", "groups.0", "groups.1"))}
    assert all(gradient is not None for gradient in gradients[-3:])


def linear_maps():
    """The maps of weights, with numbers drawn for their matrices."""
    parts = fitnets_weights.parts(WEIGHTS, TEACHER_WEIGHTS).double()
    torch.manual_seed(1)
    with torch.no_grad():
        for matrix in parts.parameters():
            matrix.normal_()
    return parts


def weight_distance(own, other, parts):
    """Index by index: sum over o, i of A_po W_oi B_qi at each place of the kernel."""
    total = 0.0
    for w, t, ends in zip(own, other, parts, strict=True):
        a, b = (ends[name].weight.detach().numpy() for name in ("outputs", "inputs"))
        mapped = np.zeros_like(t)
        for p, q, o, i in np.ndindex(t.shape[0], t.shape[1], w.shape[0], w.shape[1]):
            mapped[p, q] += a[p, o] * w[o, i] * b[q, i]
        total += np.sum((t - mapped) ** 2) / np.sum(t**2)
    return total


@pytest.mark.parametrize(("label_weight", "beta"), [(1.0, 1.0), (0.0, 3.0), (2.0, 0.5)])
def test_weights_through_the_linear_maps(label_weight, beta):
    own, other = draw(*WEIGHTS), draw(*TEACHER_WEIGHTS, seed=1)
    (z, y, t), parts = outputs(), linear_maps()
    weights = {"weights": tensors(*own), "teacher_weights": tensors(*other)}
    terms = fitnets_weights.loss(*tensors(z, y, t), **weights, parts=parts, label_weight=label_weight, beta=beta)
    expected = {"label": label_weight * cross_entropy(z, y), "weights": beta * weight_distance(own, other, parts)}
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-12)


def test_the_maps_begin_as_the_identity():
    # Of one channel more in the teacher, the student's weights explain all but that one.
    own = torch.ones(1, 1, 1, 1)
    parts = fitnets_weights.parts([own.shape], [(2, 1, 1, 1)])
    distance = fitnets_weights.weight_distance([own], [torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)], parts)
    assert distance.item() == pytest.approx(0.9)
    assert fitnets_weights.weight_distance([own], [own], fitnets_weights.parts([own.shape], [own.shape])).item() == 0


def test_gradients_reach_student_and_maps_but_not_the_teachers_weights():
    own, other = ([w.requires_grad_() for w in tensors(*draw(*shapes))] for shapes in (WEIGHTS, TEACHER_WEIGHTS))
    parts = linear_maps()
    assert torch.autograd.gradcheck(lambda *own: fitnets_weights.weight_distance(own, [w.detach() for w in other], parts), own)
    fitnets_weights.weight_distance(own, other, parts).backward()
    assert all(w.grad.abs().sum() > 0 for w in (*own, *parts.parameters()))
    assert all(w.grad is None for w in other)


def test_a_teachers_weights_of_zero_have_a_finite_distance():
    parts = fitnets_weights.parts([(2, 2)], [(2, 2)])
    assert fitnets_weights.weight_distance([torch.zeros(2, 2)], [torch.zeros(2, 2)], parts).item() == 0


@pytest.mark.parametrize(
    ("own", "other"),
    [([(2, 3, 3, 3)], [(2, 3, 1, 1)]), ([(2, 3)], [(2, 3, 1, 1)]), ([(4,)], [(4,)]), ([(2, 3)], []), ([], [])],
)
def test_weights_that_do_not_fit_are_refused(own, other):
    with pytest.raises(SettingError, match=r"objective\.taps"):
        fitnets_weights.check(own, other)
    with pytest.raises(SettingError, match=r"objective\.taps"):
        fitnets_weights.parts(own, other)
