"""Views against cropping and mirroring in NumPy, and the distribution of the draws."""

import hashlib
import itertools

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from gendistill.data.views import ViewSpace, derive_key, draw_order, draw_views
from gendistill.errors import SettingError

CIFAR = ViewSpace(4, True)
DIGITS = ViewSpace(2, False)
KEY = derive_key("views", 0, 1, 0)


def view_of(image, pad, flip, number):
    """View `number` of an image (C, H, W)."""
    crop, mirrored = divmod(number, 2) if flip else (number, 0)
    top, left = divmod(crop, 2 * pad + 1)
    height, width = image.shape[1:]
    view = np.pad(image, ((0, 0), (pad, pad), (pad, pad)))[:, top : top + height, left : left + width]
    return view[:, :, ::-1] if mirrored else view


def random_images(shape, seed=0):
    return np.random.default_rng(seed).integers(1, 256, size=shape, dtype=np.uint8)


def take(space, images, positions, numbers):
    images = torch.from_numpy(images)
    return space.take(space.windows(images), torch.tensor(positions), torch.tensor(numbers)).numpy()


@pytest.mark.parametrize(("pad", "flip", "count"), [(4, True, 162), (2, False, 25), (0, False, 1), (0, True, 2), (1, True, 18)])
def test_number_of_views(pad, flip, count):
    assert len(ViewSpace(pad, flip)) == count


@pytest.mark.parametrize(("pad", "flip"), [(4, True), (2, False), (3, True), (0, True), (0, False)])
@pytest.mark.parametrize("shape", [(3, 3, 8, 8), (2, 1, 9, 5)])
def test_every_view_is_the_crop_and_mirror_image_of_its_number(pad, flip, shape):
    space, images = ViewSpace(pad, flip), random_images(shape)
    pairs = list(itertools.product(range(len(images)), range(len(space))))
    np.random.default_rng(1).shuffle(pairs)
    positions, numbers = zip(*pairs, strict=True)
    expected = np.stack([view_of(images[i], pad, flip, v) for i, v in pairs])
    assert np.array_equal(take(space, images, positions, numbers), expected)


@pytest.mark.parametrize("space", [CIFAR, DIGITS])
def test_views_of_a_random_image_are_distinct(space):
    image = random_images((1, 3, 32, 32))
    views = take(space, image, [0] * len(space), list(range(len(space))))
    assert len({view.tobytes() for view in views}) == len(space)


@pytest.mark.parametrize("space", [CIFAR, DIGITS, ViewSpace(0, True), ViewSpace(3, False)])
def test_the_plain_view_is_the_image_itself(space):
    images = random_images((2, 1, 8, 6))
    assert np.array_equal(take(space, images, [0, 1], [space.plain] * 2), images)


@pytest.mark.parametrize("shape", [(2, 1, 8, 5), (2, 1, 5, 8)])
def test_padding_larger_than_the_image_is_refused(shape):
    images = torch.from_numpy(random_images(shape))
    assert ViewSpace(5, False).windows(images).shape[2:] == (11, 11, *shape[2:])
    with pytest.raises(SettingError, match=r"recipe\.pad = 6"):
        ViewSpace(6, False).windows(images)


@pytest.mark.parametrize("space", [CIFAR, DIGITS])
def test_views_are_drawn_uniformly(space):
    views = draw_views(KEY, 3, 500 * len(space), space)
    assert views.dtype == np.int64
    counts = np.bincount(views, minlength=len(space))
    assert len(counts) == len(space)
    assert chisquare(counts).pvalue > 1e-3


def test_views_of_one_image_are_uniform_over_epochs_and_independent_of_the_epoch_before():
    views = np.array([draw_views(KEY, epoch, 2, DIGITS)[1] for epoch in range(10_000)])
    assert chisquare(np.bincount(views, minlength=25)).pvalue > 1e-3
    assert chisquare(np.bincount(25 * views[:-1] + views[1:], minlength=625)).pvalue > 1e-3


def test_the_view_of_an_image_depends_on_no_other_image_and_on_no_earlier_draw():
    alone = draw_views(KEY, 7, 1000, CIFAR)
    for epoch, count in ((7, 1), (3, 50), (7, 10), (8, 1000), (7, 999)):
        drawn = draw_views(KEY, epoch, count, CIFAR)
        if epoch == 7:
            assert np.array_equal(drawn, alone[:count])


def test_views_change_with_the_epoch():
    epochs = [tuple(draw_views(KEY, epoch, 30, CIFAR)) for epoch in range(100)]
    assert len(set(epochs)) == 100


@pytest.mark.parametrize("shift", range(9))
def test_no_epoch_shows_the_views_of_the_one_before_at_other_images(shift):
    before, after = draw_views(KEY, 0, 5008, CIFAR), draw_views(KEY, 1, 5000, CIFAR)
    assert (before[shift : shift + 5000] == after).mean() < 0.02  # 1 in 162 by chance


@pytest.mark.parametrize("other", [("order", 0, 1, 0), ("views", 1, 1, 0), ("views", 0, 2, 0), ("views", 0, 1, 1)])
def test_purpose_seed_generation_and_member_change_the_draws(other):
    assert derive_key(*other) != KEY
    same = (draw_views(derive_key(*other), 0, 5000, CIFAR) == draw_views(KEY, 0, 5000, CIFAR)).mean()
    assert same < 0.02  # 1 in 162 by chance


def test_keys_are_128_bits_of_a_hash_and_never_alike():
    digest = hashlib.sha256(b'["order", 3, 2, 1]').digest()
    assert derive_key("order", 3, 2, 1) == sum(byte << 8 * i for i, byte in enumerate(digest[:16]))
    arguments = itertools.product(["initialisation", "order", "views"], range(12), range(12), range(12))
    assert len({derive_key(*a) for a in arguments}) == 3 * 12**3


@pytest.mark.parametrize("count", [1, 2, 97, 1000])
def test_an_order_visits_each_image_once(count):
    order = draw_order(KEY, 0, count)
    assert order.dtype == np.int64
    assert sorted(order) == list(range(count))


def test_orders_differ_between_epochs_and_keys():
    orders = [draw_order(key, epoch, 50) for key in (KEY, KEY + 1) for epoch in range(20)]
    assert len({tuple(order) for order in orders}) == 40


def test_each_image_is_as_likely_at_each_place_of_the_order():
    orders = np.array([draw_order(KEY, epoch, 8) for epoch in range(4000)])
    for image in range(8):
        assert chisquare(np.bincount(np.argwhere(orders == image)[:, 1], minlength=8)).pvalue > 1e-3
