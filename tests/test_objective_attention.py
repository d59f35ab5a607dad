"""Attention transfer, alone and with knowledge distillation, against loops over places in NumPy float64."""

import numpy as np
import pytest
import torch

from gendistill.errors import SettingError
from gendistill.objectives import attention_transfer, kd, kd_attention

SHAPES = [(3, 4, 4), (5, 2, 2), (8, 1, 2)]
TEACHER_SHAPES = [(7, 4, 4), (5, 2, 2), (2, 1, 2)]
KD = {"alpha": 0.9, "alpha_weighs": "teacher", "temperature": 4.0, "temperature_squared": True}
# The settings of each module but beta.
OTHERS = {attention_transfer: {"label_weight": 1.0}, kd_attention: KD}


def draw(batch=3, classes=5, seed=0):
    """Logits, labels, the teacher's logits, and the maps of student and teacher."""
    generator = np.random.default_rng(seed)
    z, t = generator.standard_normal((2, batch, classes))
    maps, teacher_maps = ([generator.standard_normal((batch, *shape)) for shape in shapes] for shapes in (SHAPES, TEACHER_SHAPES))
    return z, generator.integers(classes, size=batch), t, maps, teacher_maps


def tensors(z, y, t, maps, teacher_maps):
    as_tensors = [[torch.tensor(part) for part in parts] for parts in (maps, teacher_maps)]
    return torch.tensor(z), torch.tensor(y), torch.tensor(t), *as_tensors


def attention(outputs):
    """The squares of one image, (C, H, W), summed over the channels place by place, as a vector of length 1."""
    channels, height, width = outputs.shape
    q = np.array([sum(outputs[c, i, j] ** 2 for c in range(channels)) for i in range(height) for j in range(width)])
    return q / np.sqrt(np.sum(q * q))


def distance(maps, teacher_maps):
    total = 0.0
    for own, other in zip(maps, teacher_maps, strict=True):
        squares = [np.sum((attention(a) - attention(b)) ** 2) for a, b in zip(own, other, strict=True)]
        total += sum(squares) / (len(own) * own.shape[2] * own.shape[3])
    return total


def log_softmax(z):
    return z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))


def cross_entropy(z, y):
    return -np.mean(log_softmax(z)[np.arange(len(y)), y])


@pytest.mark.parametrize(("label_weight", "beta"), [(1.0, 0.0), (1.0, 1.0), (1.0, 1000.0), (0.0, 1000.0), (0.5, 2.0)])
def test_values_are_those_of_the_formula(label_weight, beta):
    z, y, t, maps, teacher_maps = draw()
    a, b, c, own, other = tensors(z, y, t, maps, teacher_maps)
    terms = attention_transfer.loss(a, b, c, maps=own, teacher_maps=other, label_weight=label_weight, beta=beta)
    expected = {"label": label_weight * cross_entropy(z, y), "attention": beta * distance(maps, teacher_maps)}
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-12)


def test_kd_attention_is_the_sum_of_its_parts():
    z, y, t, maps, teacher_maps = draw()
    soft = -16 * np.mean(np.sum(np.exp(log_softmax(t / 4)) * log_softmax(z / 4), axis=1))
    expected = 0.1 * cross_entropy(z, y) + 0.9 * soft + 1000 * distance(maps, teacher_maps)
    a, b, c, own, other = tensors(z, y, t, maps, teacher_maps)
    found = kd_attention.loss(a, b, c, maps=own, teacher_maps=other, beta=1000.0, **KD)
    assert found.item() == pytest.approx(expected, rel=1e-12)
    assert kd_attention.loss(a, b, c, maps=own, teacher_maps=other, beta=0.0, **KD) == kd.loss(a, b, c, **KD)


@pytest.mark.parametrize(
    "change", [{"alpha": 0.5}, {"alpha_weighs": "label"}, {"temperature_squared": False}, {"temperature": 1.0}]
)
def test_each_setting_reaches_kd(change):
    a, b, c, own, other = tensors(*draw())
    settings = {**KD, **change}
    value = kd_attention.loss(a, b, c, maps=own, teacher_maps=other, beta=2.0, **settings)
    expected = kd.loss(a, b, c, **settings) + 2 * attention_transfer.distance(own, other)
    assert value.item() == pytest.approx(expected.item(), rel=1e-14)
    assert value.item() != pytest.approx(kd_attention.loss(a, b, c, maps=own, teacher_maps=other, beta=2.0, **KD).item(), rel=1e-6)


def test_gradient_is_that_of_the_formula():
    _, _, _, maps, teacher_maps = draw()
    own, other = [torch.tensor(m, requires_grad=True) for m in maps], [torch.tensor(m, requires_grad=True) for m in teacher_maps]
    attention_transfer.distance(own, other).backward()
    for group, found in zip(maps, own, strict=True):
        expected = np.empty_like(group)
        for place in np.ndindex(group.shape):
            kept = group[place]
            group[place] = kept + 1e-6
            above = distance(maps, teacher_maps)
            group[place] = kept - 1e-6
            expected[place] = (above - distance(maps, teacher_maps)) / 2e-6
            group[place] = kept
        np.testing.assert_allclose(found.grad, expected, rtol=1e-5, atol=1e-8)
    assert all(group.grad is None for group in other)


@pytest.mark.parametrize("module", [attention_transfer, kd_attention])
def test_gradients_reach_logits_and_maps_but_not_the_teacher(module):
    z, y, t, own, other = tensors(*draw())
    for part in (z, t, *own, *other):
        part.requires_grad_()
    value = module.loss(z, y, t, maps=own, teacher_maps=other, beta=10.0, **OTHERS[module])
    (value if module is kd_attention else sum(value.values())).backward()
    assert all(part.grad.abs().sum() > 0 for part in (z, *own))
    assert all(part.grad is None for part in (t, *other))


def test_float32_gives_a_float32_scalar():
    z, y, t, own, other = tensors(*draw())
    own, other = [m.float() for m in own], [m.float() for m in other]
    terms = attention_transfer.loss(z.float(), y, t.float(), maps=own, teacher_maps=other, label_weight=1.0, beta=1000.0)
    assert all((value.dtype, value.shape) == (torch.float32, ()) for value in terms.values())


def test_scale_and_channels_of_the_maps_do_not_matter():
    _, _, _, own, other = tensors(*draw())
    value = attention_transfer.distance(own, other).item()
    assert attention_transfer.distance([3 * m for m in own], [-0.1 * m for m in other]).item() == pytest.approx(value, rel=1e-12)
    repeated = [m.repeat(1, 4, 1, 1) for m in own]
    assert attention_transfer.distance(repeated, other).item() == pytest.approx(value, rel=1e-12)
    assert attention_transfer.distance(repeated, own).item() == pytest.approx(0, abs=1e-28)


def test_memory_layout_and_order_of_the_batch_do_not_matter():
    _, _, _, own, other = tensors(*draw())
    value = attention_transfer.distance(own, other).item()
    last = [m.contiguous(memory_format=torch.channels_last) for m in own]
    assert attention_transfer.distance(last, other).item() == pytest.approx(value, rel=1e-12)
    order = [2, 0, 1]
    shuffled = attention_transfer.distance([m[order] for m in own], [m[order] for m in other]).item()
    assert shuffled == pytest.approx(value, rel=1e-12)


def test_maps_of_zeros_have_a_finite_gradient():
    # After a ReLU all outputs of a group may be 0.
    own = torch.zeros(2, 3, 4, 4, requires_grad=True)
    attention_transfer.distance([own], [torch.rand(2, 3, 4, 4)]).backward()
    assert own.grad.isfinite().all()


@pytest.mark.parametrize("module", [attention_transfer, kd_attention])
@pytest.mark.parametrize(
    ("own", "other", "said"),
    [
        ([(4, 4), (2, 2)], [(4, 4)], "[(4, 4), (2, 2)]"),
        ([(4, 4), (2, 2)], [(4, 4), (1, 1)], "(1, 1)"),
        ([(4, 4)], [], "[]"),
        ([], [], "at least one group"),
    ],
)
def test_maps_that_do_not_match_are_refused(module, own, other, said):
    maps, teacher_maps = ([torch.rand(2, 3, *size) for size in sizes] for sizes in (own, other))
    outputs = torch.rand(2, 5), torch.tensor([0, 1]), torch.rand(2, 5)
    with pytest.raises(SettingError, match="network") as error:
        module.loss(*outputs, maps=maps, teacher_maps=teacher_maps, beta=1.0, **OTHERS[module])
    assert said in str(error.value)
    # The same is said before training.
    with pytest.raises(SettingError, match="network"):
        module.check([(3, *size) for size in own], [(3, *size) for size in other])
