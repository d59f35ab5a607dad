"""Factor transfer: the paraphraser learns without labels and then stays; the student's translator follows it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gendistill.objectives import factor_transfer
from tests.objective_formulas import cross_entropy, draw, outputs, tensors

SETTINGS = {"label_weight": 1.0, "beta": 500.0, "p": 1}
PARTS = ("encoder", "decoder", "translator")


def built(own=(2, 3, 3), other=(4, 3, 3), rate=0.5):
    torch.manual_seed(0)
    return factor_transfer.parts([own], [other], rate=rate).double()


def maps(batch=3):
    return tensors(*draw((batch, 2, 3, 3), (batch, 4, 3, 3)))


def through(x, layers, transposed=False):
    """Three convolutions of NumPy, padded by 1, each with batch norm at its first weights and a leaky ReLU of slope 0.1."""
    for convolution in (layer for layer in layers if hasattr(layer, "kernel_size")):
        weight = convolution.weight.detach().numpy()
        if transposed:
            weight = weight.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        y = np.empty((len(x), len(weight), *x.shape[2:]))
        for i, j in np.ndindex(*x.shape[2:]):
            y[:, :, i, j] = np.einsum("bchw,ochw->bo", padded[:, :, i : i + 3, j : j + 3], weight)
        y = (y - y.mean(axis=(0, 2, 3), keepdims=True)) / np.sqrt(y.var(axis=(0, 2, 3), keepdims=True) + 1e-5)
        x = np.where(y > 0, y, 0.1 * y)
    return x


def factors(x):
    """Each image's factors as one vector of length 1."""
    return np.stack([image.ravel() / np.linalg.norm(image) for image in x])


def test_first_stage_is_the_mean_square_of_the_reconstruction():
    (part,), (_, other) = built(), maps()
    terms = factor_transfer.first_loss(None, None, None, teacher_maps=[other], parts=[part])
    again = through(through(other.numpy(), part["encoder"]), part["decoder"], transposed=True)
    assert terms["reconstruction"].item() == pytest.approx(np.mean((other.numpy() - again) ** 2), rel=1e-10)


@pytest.mark.parametrize("change", [{}, {"p": 2}, {"beta": 3.0}, {"label_weight": 0.0}])
def test_second_stage_compares_factors_of_length_1(change):
    settings = {**SETTINGS, **change}
    (z, y, t), (part,), (own, other) = outputs(), built(), maps()
    terms = factor_transfer.loss(*tensors(z, y, t), maps=[own], teacher_maps=[other], parts=[part], **settings)
    difference = factors(through(other.numpy(), part["encoder"])) - factors(through(own.numpy(), part["translator"]))
    expected = {
        "label": settings["label_weight"] * cross_entropy(z, y),
        "factor": settings["beta"] * np.mean(np.abs(difference) ** settings["p"]),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("p", "expected"), [(1, 0.4), (2, 0.2)])
def test_a_distance_by_hand(p, expected):
    # (3, 4) and (0, 2) become (0.6, 0.8) and (0, 1).
    own, other = torch.tensor([[[[0.0, 2.0]]]]), torch.tensor([[[[3.0, 4.0]]]])
    assert factor_transfer.factor_distance(own, other, p).item() == pytest.approx(expected, rel=1e-6)


def test_only_the_paraphraser_learns_first_and_only_the_translator_and_the_student_then():
    parts, (own, other) = built(), [x.requires_grad_() for x in maps()]
    z = torch.randn(3, 5, dtype=torch.double, requires_grad=True)
    weights = {name: list(parts[0][name].parameters()) for name in PARTS}

    def reached(terms):
        inputs = {"own": [own], "other": [other], **weights}
        found = {
            name: torch.autograd.grad(sum(terms.values()), given, allow_unused=True, retain_graph=True)
            for name, given in inputs.items()
        }
        assert all(len({gradient is None for gradient in gradients}) == 1 for gradients in found.values())
        return {name for name, gradients in found.items() if gradients[0] is not None}

    first = factor_transfer.first_loss(z, None, None, teacher_maps=[other], parts=parts)
    second = factor_transfer.loss(z, torch.tensor([0, 1, 2]), None, maps=[own], teacher_maps=[other], parts=parts, **SETTINGS)
    assert reached(first) == {"encoder", "decoder"}
    assert reached(second) == {"own", "translator"}


def test_gradient_by_the_students_factors_is_that_of_the_formula():
    own, other = (x.flatten(1)[:, :18].view(3, 2, 3, 3).clone().requires_grad_() for x in maps())
    for p in (1, 2):
        assert torch.autograd.gradcheck(lambda own, p=p: factor_transfer.factor_distance(own, other.detach(), p), own)


@pytest.mark.parametrize(("channels", "rate", "expected"), [(4, 0.5, 2), (8, 0.75, 6), (3, 0.1, 1), (2, 2.0, 4)])
def test_the_rate_says_how_many_channels_the_factors_have(channels, rate, expected):
    (part,) = built(other=(channels, 3, 3), rate=rate)
    for name, given in (("encoder", channels), ("translator", 2)):
        assert part[name](torch.randn(2, given, 3, 3, dtype=torch.double)).shape == (2, expected, 3, 3)
    assert part["decoder"](torch.randn(2, expected, 3, 3, dtype=torch.double)).shape == (2, channels, 3, 3)


def test_what_is_thrown_away_has_no_running_statistics():
    assert not list(built().buffers())


def test_factors_of_zeros_and_single_images_are_safe():
    own = torch.zeros(1, 2, 3, 3, requires_grad=True)
    factor_transfer.factor_distance(own, torch.rand(1, 2, 3, 3), 1).backward()
    assert own.grad.isfinite().all()
    parts = factor_transfer.parts([(2, 3, 3)], [(4, 3, 3)], rate=0.5)
    maps = {"maps": [torch.randn(1, 2, 3, 3)], "teacher_maps": [torch.randn(1, 4, 3, 3)]}
    terms = factor_transfer.loss(torch.randn(1, 5), torch.tensor([0]), None, **maps, parts=parts, **SETTINGS)
    assert all(term.isfinite() for term in terms.values())


def test_reconstruction_falls_at_the_rate_of_the_recipes():
    torch.manual_seed(0)
    parts = factor_transfer.parts([(2, 4, 4)], [(8, 4, 4)], rate=0.5)
    map = F.relu(torch.randn(16, 8, 4, 4))
    optimizer = torch.optim.SGD(parts.parameters(), lr=0.1, momentum=0.9)
    values = []
    for _ in range(40):
        optimizer.zero_grad()
        value = factor_transfer.first_loss(None, None, None, teacher_maps=[map], parts=parts)["reconstruction"]
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.6 * values[0]
