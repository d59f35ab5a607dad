"""Cutout, AutoAugment and mixup: distributions against formulas, and random numbers that depend on the image or the step alone."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gendistill.data import augment
from gendistill.data.torchvision_import import import_torchvision
from gendistill.data.views import draw_numbers
from gendistill.errors import SettingError
from gendistill.networks.trained import Description

KEYS = {"cutout": 1, "auto_augment": 2, "mixup": 3}
MEAN = (30.7, 101.3, 200.0)


def images(count, channels=3, height=8, width=10):
    generator = np.random.default_rng(4)
    return torch.from_numpy(generator.integers(0, 256, (count, channels, height, width), dtype=np.uint8))


def augmented(recipe, pixels, positions=None, epoch=0, step=0, part=0, count=None):
    positions = torch.arange(len(pixels)) if positions is None else positions
    made = augment.augmentation(recipe, KEYS, epoch, count or len(pixels), pixels.shape[1:], MEAN[: pixels.shape[1]])
    return made(pixels, positions, step, part)


def test_recipes_without_the_settings_show_the_views_as_they_are():
    pixels = images(3)
    for recipe in ({}, {"cutout": 0, "mixup": 0, "auto_augment": None}):
        shown, partners, share = augmented(recipe, pixels)
        assert (shown is pixels, partners, share) == (True, None, 1.0)


@pytest.mark.parametrize("side", [1, 4, 5, 8])
def test_cutout_fills_a_square_around_each_pixel(side):
    pixels = images(80)
    filled = augment.cutout(pixels, side, MEAN, torch.arange(80) + 7 * 80)
    assert filled.dtype == torch.float32
    for number, (image, found) in enumerate(zip(pixels.numpy(), filled.numpy(), strict=True)):
        expected = image.astype(np.float32)
        row, column = number // 10 - side // 2, number % 10 - side // 2
        expected[:, max(row, 0) : row + side, max(column, 0) : column + side] = np.array(MEAN, np.float32)[:, None, None]
        assert np.array_equal(found, expected)


def test_what_cutout_fills_is_zero_after_normalisation():
    description = Description({}, [3, 8, 10], 10, list(MEAN), [50.1, 60.2, 70.3], "float32")
    filled = augment.cutout(images(5), 8, MEAN, torch.full((5,), 44))
    assert (description.normalise(filled)[:, :, :, :8] == 0).all()


def test_the_area_of_cutout_is_that_of_squares_around_all_pixels_alike():
    count, side = 20_000, 4
    shown, _, _ = augmented({"cutout": side}, torch.full((count, 1, 8, 8), 255, dtype=torch.uint8))
    areas = (shown != 255).sum(dim=(1, 2, 3)).double()
    # Of 8 rows a square covers 2, 3, 4, 4, 4, 4, 4 or 3: 3.5 on average; its columns are drawn independently of them.
    error = areas.std() / count**0.5
    assert abs(areas.mean() - 3.5**2) < 4 * error
    centres, _, _ = augmented({"cutout": 1}, torch.full((count, 1, 8, 8), 255, dtype=torch.uint8))
    found = (centres != 255).sum(dim=(0, 1)).flatten().double()
    assert (found.sum(), len(found)) == (count, 64)
    assert (abs(found - count / 64) < 4.5 * (count / 64 * 63 / 64) ** 0.5).all()


@pytest.mark.parametrize("recipe", [{"cutout": 3}, {"auto_augment": "svhn"}, {"auto_augment": "cifar10", "cutout": 4}])
def test_an_image_is_changed_alike_in_any_batch_and_otherwise_in_another_epoch(recipe):
    pixels, order = images(24), torch.randperm(24, generator=torch.Generator().manual_seed(5))
    whole, _, _ = augmented(recipe, pixels)
    torch.rand(17)
    for step, part in enumerate(order.split(5)):
        shown, _, _ = augmented(recipe, pixels[part], part, step=step, part=step, count=24)
        assert torch.equal(shown, whole[part])
    other, _, _ = augmented(recipe, pixels, epoch=1)
    assert (other != whole).flatten(1).any(dim=1).float().mean() > 0.5


@pytest.mark.parametrize("policy", ["cifar10", "svhn", "imagenet"])
@pytest.mark.parametrize("channels", [1, 3])
def test_auto_augment_is_torchvisions_with_a_generator_for_each_image(policy, channels):
    import_torchvision()
    from torchvision.transforms.v2 import AutoAugment, AutoAugmentPolicy

    transform, pixels = AutoAugment(AutoAugmentPolicy[policy.upper()]), images(30, channels)
    seeds = [int(number) // 2 for number in draw_numbers(KEYS["auto_augment"], 6, 30)]
    torch.manual_seed(8)
    expected_next = torch.rand(3)
    torch.manual_seed(8)
    shown, _, _ = augmented({"auto_augment": policy}, pixels, epoch=6)
    assert torch.equal(torch.rand(3), expected_next)
    assert shown.dtype == torch.uint8
    for image, seed, found in zip(pixels, seeds, shown, strict=True):
        torch.manual_seed(seed)
        assert torch.equal(transform(image), found)
    changed = (shown != pixels).flatten(1).any(dim=1)
    assert changed.sum() > 15


def shares(alpha, count=4000):
    nothing = torch.zeros(1, 1, 1, 1)
    return np.sort([augment.mixup(nothing, alpha, 9, step % 7, step // 7, 0)[2] for step in range(count)])


@pytest.mark.parametrize(
    ("alpha", "distribution"),
    [
        (0.5, lambda x: 2 / np.pi * np.arcsin(np.sqrt(x))),
        (1.0, lambda x: x),
        (2.0, lambda x: 3 * x**2 - 2 * x**3),
    ],
)
def test_shares_of_mixup_have_the_beta_distribution(alpha, distribution):
    found = shares(alpha)
    # Kolmogorov's distance, which exceeds 1.95 / sqrt(n) in one of 1000 cases.
    ranks = np.arange(len(found))
    distance = np.maximum(distribution(found) - ranks / len(found), (ranks + 1) / len(found) - distribution(found)).max()
    assert distance < 1.95 / len(found) ** 0.5


@pytest.mark.parametrize("alpha", [0.01, 0.2, 8.0])
def test_shares_of_mixup_have_mean_and_variance_of_the_beta_distribution(alpha):
    found = shares(alpha)
    assert 0 <= found[0] <= found[-1] <= 1
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(found.mean() - 0.5) < 4 * (variance / len(found)) ** 0.5
    squares = (found - 0.5) ** 2
    assert abs(squares.mean() - variance) < 4 * squares.std() / len(found) ** 0.5


def test_mixup_mixes_each_image_with_a_partner():
    pixels = images(6)
    mixed, partners, share = augmented({"mixup": 1.0}, pixels, epoch=2, step=3, part=1)
    assert sorted(partners.tolist()) == list(range(6))
    assert 0.01 < share < 0.99
    expected = share * pixels.numpy().astype(float) + (1 - share) * pixels.numpy().astype(float)[partners.numpy()]
    assert mixed.dtype == torch.float32
    np.testing.assert_allclose(mixed.numpy(), expected, rtol=1e-6, atol=1e-4)


def test_what_mixup_draws_depends_on_key_epoch_and_step_and_partners_on_the_micro_batch_too():
    def drawn(key=3, epoch=2, step=3, part=1):
        _, partners, share = augment.mixup(torch.zeros(40, 1, 1, 1), 1.0, key, epoch, step, part)
        return share, partners.tolist()

    first = drawn()
    others = [drawn(key=4), drawn(epoch=1), drawn(step=2), drawn(epoch=3, step=2)]
    assert drawn() == first
    assert len({share for share, _ in (first, *others)}) == 5
    assert drawn(part=2)[0] == first[0]
    found = [partners for _, partners in (first, *others, drawn(part=2), drawn(part=0))]
    assert all(one != other for i, one in enumerate(found) for other in found[:i])


def test_each_image_of_a_micro_batch_is_a_partner_as_often():
    count = 3000
    partners = torch.stack([augment.mixup(torch.zeros(4, 1, 1, 1), 1.0, 5, 0, step, 0)[1] for step in range(count)])
    found = F.one_hot(partners).sum(0).double()
    assert (abs(found - count / 4) < 4.5 * (count * 3 / 16) ** 0.5).all()


def test_a_loss_over_both_labels_is_that_of_mixed_one_hot_labels():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(5, 3, dtype=torch.float64, generator=generator)
    labels, partners = torch.tensor([0, 2, 1, 1, 0]), torch.tensor([3, 0, 2, 4, 1])
    mixed = 0.7 * np.eye(3)[labels] + 0.3 * np.eye(3)[labels[partners]]
    probabilities = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True)
    expected = -(mixed * np.log(probabilities)).sum(1).mean()
    found = augment.over_both(lambda targets: F.cross_entropy(logits, targets), labels, partners, 0.7)
    assert found.item() == pytest.approx(expected, rel=1e-12)
    alone = augment.over_both(lambda targets: targets, labels, None, 1.0)
    assert alone is labels


def test_views_are_augmented_then_cut_then_mixed():
    pixels = images(12)
    recipe = {"auto_augment": "imagenet", "cutout": 5, "mixup": 0.4}
    found, partners, share = augmented(recipe, pixels, epoch=1, step=2, part=3)
    policy, square = (
        torch.from_numpy((draw_numbers(KEYS[name], 1, 12) // 2).astype(np.int64)) for name in ("auto_augment", "cutout")
    )
    cut = augment.cutout(augment.auto_augment(pixels, "imagenet", policy), 5, MEAN, square)
    expected = augment.mixup(cut, 0.4, KEYS["mixup"], 1, 2, 3)
    assert torch.equal(found, expected[0])
    assert torch.equal(partners, expected[1])
    assert share == expected[2]


@pytest.mark.parametrize(
    ("recipe", "channels", "message"),
    [
        ({"cutout": 9}, 3, r"recipe\.cutout = 9: larger than the images, which are 8x10; it must be at most 8"),
        ({"auto_augment": "svhn"}, 2, r"recipe\.auto_augment = svhn: the images have 2 channels, .* 1 or 3\. It must be null"),
    ],
)
def test_images_that_cannot_be_changed_so_name_the_setting(recipe, channels, message):
    with pytest.raises(SettingError, match=message):
        augmented(recipe, images(3, channels))
