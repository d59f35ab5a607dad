"""DKPP: the permutations are the ones named, reproducible, independent of the batch, and uniform."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch

from gendistill.objectives.dkpp import _mix, loss, permute_all_but_top, random_numbers

KEY = 0x0123456789ABCDEF_FEDCBA9876543210
WORD = 2**64


def mixed(x):
    """The finaliser of SplitMix64 in Python's integers."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % WORD
    return x ^ (x >> 31)


def numbers_by_hand(key, image, draw, count):
    step = 0x9E3779B97F4A7C15
    state = mixed((key % WORD + step * image) % WORD)
    state = mixed((state + key // WORD + step * draw) % WORD)
    return [mixed((state + step * k) % WORD) for k in range(1, count + 1)]


def outputs(batch, classes, seed=0):
    """Distinct probabilities, float64, shape (batch, classes)."""
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(classes), size=batch))


def permuted(p, images=None, draw=1, key=KEY):
    return permute_all_but_top(p, torch.arange(len(p)) if images is None else torch.tensor(images), draw, key)


def draw_batch(batch=6, classes=8):
    generator = torch.Generator().manual_seed(0)
    logits, teacher = torch.randn(2, batch, classes, generator=generator, dtype=torch.float64)
    return logits, torch.zeros(batch, dtype=torch.int64), teacher


def test_the_finaliser_gives_the_published_numbers_of_splitmix():
    # The first outputs for seed 1234567, known from other implementations.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    states = [(1234567 + 0x9E3779B97F4A7C15 * k) % WORD for k in range(1, 6)]
    assert [mixed(state) for state in states] == expected
    as_int64 = torch.tensor([state - WORD if state >= WORD // 2 else state for state in states])
    assert [number % WORD for number in _mix(as_int64).tolist()] == expected


@pytest.mark.parametrize("key", [0, 1, KEY, 2**128 - 1, 2**63, 2**127 + 5])
def test_numbers_are_those_computed_by_hand(key):
    images = torch.tensor([0, 1, 7, 49_999, 1_281_166])
    for draw in (0, 1, 200):
        expected = [numbers_by_hand(key, image, draw, 5) for image in images.tolist()]
        found = random_numbers(key, images, draw, 5)
        assert found.dtype == torch.int64
        assert [[number % WORD for number in row] for row in found.tolist()] == expected


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
def test_top_output_stays_and_the_others_are_kept(classes):
    p = outputs(64, classes)
    r = permuted(p)
    top = p.argmax(1, keepdim=True)
    assert torch.equal(r.argmax(1, keepdim=True), top)
    assert torch.equal(r.gather(1, top), p.gather(1, top))
    assert torch.equal(r.sort(1).values, p.sort(1).values)
    if classes > 3:
        assert (r != p).any(1).all()


@pytest.mark.parametrize("top", [0, 1, 3])
def test_every_permutation_is_as_likely(top):
    """Chi-square of the 6 orders of three values, over images and over epochs: 5 degrees of freedom."""
    values = [0.1, 0.15, 0.2]
    row = torch.tensor([*values[:top], 0.55, *values[top:]])
    count = 6000
    over_images = permuted(row.repeat(count, 1))
    over_epochs = torch.cat([permuted(row[None], images=[5], draw=d) for d in range(count)])
    for drawn in (over_images, over_epochs):
        seen = Counter(tuple(line[:top] + line[top + 1 :]) for line in drawn.tolist())
        orders = list(itertools.permutations(row[torch.arange(4) != top].tolist()))
        assert set(seen) == set(orders)
        expected = count / len(orders)
        assert sum((seen[order] - expected) ** 2 / expected for order in orders) < 20.5  # exceeded with probability 0.001


def test_permutations_of_images_and_epochs_are_independent():
    """The place of one value for image i and i + 1, and for epoch e and e + 1: chi-square of 16 pairs, 15 degrees of freedom."""
    row = torch.tensor([0.4, 0.25, 0.15, 0.11, 0.09])
    count = 4000
    first, second = (permuted(row.repeat(count, 1), draw=d) for d in (1, 2))
    places = [(drawn == row[1]).int().argmax(1) for drawn in (first, second)]
    for a, b in ((places[0], places[1]), (places[0][:-1], places[0][1:])):
        seen = Counter(zip(a.tolist(), b.tolist(), strict=True))
        expected = len(a) / 16
        assert len(seen) == 16
        assert sum((n - expected) ** 2 / expected for n in seen.values()) < 37.7  # exceeded with probability 0.001


def test_numbers_depend_on_every_part():
    def first(key=KEY, image=3, draw=2):
        return random_numbers(key, torch.tensor([image]), draw, 4).tolist()

    assert first() == first()
    for other in (first(key=KEY + 1), first(key=KEY + 2**64), first(key=KEY ^ 2**127), first(image=4), first(draw=3)):
        assert not set(first()[0]) & set(other[0])


def test_the_batch_does_not_matter():
    p = outputs(8, 12)
    whole = permuted(p)
    order = [6, 2, 7, 0]
    assert torch.equal(permuted(p[order], images=order), whole[order])
    assert torch.equal(torch.cat([permuted(p[i : i + 1], images=[i]) for i in range(8)]), whole)


@pytest.mark.parametrize("permutation", ["image", "draw"])
def test_value_and_gradient_are_those_of_the_permuted_outputs(permutation):
    logits, labels, teacher = draw_batch()
    images, epoch = torch.tensor([4, 9, 2, 0, 77, 5]), 3
    p = np.exp(teacher.numpy()) / np.exp(teacher.numpy()).sum(1, keepdims=True)
    r = p.copy()
    for row, image in enumerate(images.tolist()):
        top = int(p[row].argmax())
        numbers = numbers_by_hand(KEY, image, epoch + 1 if permutation == "draw" else 0, 8)
        # Signed, as int64 is ordered.
        order = sorted(range(8), key=lambda k: (numbers[k] + WORD // 2) % WORD)
        swapped = order[top]
        order = [swapped if k == top else k for k in order]
        order[top] = top
        r[row] = p[row][order]
    q = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True)
    logits.requires_grad_()
    teacher.requires_grad_()
    value = loss(logits, labels, teacher, images=images, epoch=epoch, key=KEY, permutation=permutation)
    assert value.item() == pytest.approx(-np.sum(r * np.log(q)) / 6, rel=1e-12)
    value.backward()
    np.testing.assert_allclose(logits.grad, (q - r) / 6, atol=1e-12)
    assert teacher.grad is None


def test_float32_logits_give_a_float32_scalar():
    logits, labels, teacher = draw_batch()
    value = loss(logits.float(), labels, teacher.float(), images=torch.arange(6), epoch=0, key=KEY, permutation="draw")
    assert (value.dtype, value.shape) == (torch.float32, ())


@pytest.mark.parametrize(("permutation", "changes"), [("image", False), ("draw", True)])
def test_epochs_change_drawn_permutations_only(permutation, changes):
    logits, labels, teacher = draw_batch()
    values = [
        loss(logits, labels, teacher, images=torch.arange(6), epoch=e, key=KEY, permutation=permutation).item() for e in (0, 1, 0)
    ]
    assert values[0] == values[2]
    assert (values[0] != values[1]) == changes


def test_labels_are_not_used_and_the_order_of_the_batch_does_not_matter():
    logits, labels, teacher = draw_batch()
    images, order = torch.arange(6), [3, 1, 5, 0, 4, 2]
    settings = {"epoch": 2, "key": KEY, "permutation": "draw"}
    value = loss(logits, labels, teacher, images=images, **settings)
    assert torch.equal(value, loss(logits, labels + 1, teacher, images=images, **settings))
    assert value.item() == pytest.approx(
        loss(logits[order], labels, teacher[order], images=images[order], **settings).item(), rel=1e-12
    )


def test_no_global_random_state_is_used():
    p = outputs(4, 10)
    torch.manual_seed(0)
    first, state = permuted(p), torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(permuted(p), first)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_the_device_does_not_matter():
    p, images = outputs(64, 100), torch.arange(64)
    there = permute_all_but_top(p.cuda(), images.cuda(), 3, KEY)
    assert torch.equal(there.cpu(), permute_all_but_top(p, images, 3, KEY))
