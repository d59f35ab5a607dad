"""Views changed on the device: AutoAugment, cutout and mixup, in this order.

All random numbers are those of counter-based generators (Philox): they depend on the network's keys, the epoch and the image, or
for mixup the step, not on what was drawn before. So a training goes on after an interruption with the same bits.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gendistill.data.torchvision_import import import_torchvision
from gendistill.data.views import draw_numbers
from gendistill.errors import SettingError
from gendistill.softlabels.exact import OFF

# (uint8 views (B, C, H, W); positions of the images, int64 (B,), on the CPU; number of the step; number of the micro-batch in it)
#     -> the pixels to show, uint8 or float32 (B, C, H, W); those they were mixed with, int64 (B,), or None; their own share
Augment = Callable[[Tensor, Tensor, int, int], tuple[Tensor, Tensor | None, float]]
# The keys of their generators are derived for these purposes.
KEYS = ("auto_augment", "cutout", "mixup")
# The channels that torchvision's operations on colours know.
COLOURS = (1, 3)


def augmentation(
    recipe: dict[str, Any], keys: dict[str, int], epoch: int, count: int, shape: Sequence[int], mean: Sequence[float]
) -> Augment:
    """What the recipe's `auto_augment`, `cutout` and `mixup` do to the views of an epoch; nothing if these are off.

    What is done to an image before it is mixed is the same in any batch, in any order, with any number of processes.

    Args:
        recipe: the settings of the recipe group.
        keys: of the generators, one for each of `KEYS`.
        epoch: from 0.
        count: images in the training set.
        shape: channels, height and width of an image.
        mean: of each channel, in units of pixel values.

    Raises:
        SettingError: the square of cutout is larger than the image, or the image has channels that are no colours.
    """
    recipe = {**OFF, **recipe}
    policy, side, alpha = recipe["auto_augment"], recipe["cutout"], recipe["mixup"]
    if side > min(shape[1:]):
        raise SettingError(
            f"recipe.cutout = {side}: larger than the images, which are {shape[1]}x{shape[2]}; it must be at most "
            f"{min(shape[1:])}. Set it in the recipe of the experiment."
        )
    if policy and shape[0] not in COLOURS:
        raise SettingError(
            f"recipe.auto_augment = {policy}: the images have {shape[0]} channels, and AutoAugment is for 1 or 3. It must be null: "
            "set it in the recipe of the experiment."
        )
    # One bit less than drawn: PyTorch has no arithmetic of unsigned numbers.
    numbers = {
        name: torch.from_numpy((draw_numbers(keys[name], epoch, count) >> np.uint64(1)).astype(np.int64))
        for name in ("auto_augment", "cutout")
        if recipe[name]
    }

    def augment(pixels: Tensor, positions: Tensor, step: int, part: int) -> tuple[Tensor, Tensor | None, float]:
        if policy:
            pixels = auto_augment(pixels, policy, numbers["auto_augment"][positions])
        if side:
            pixels = cutout(pixels, side, mean, _to(pixels.device, numbers["cutout"][positions]))
        return mixup(pixels, alpha, keys["mixup"], epoch, step, part) if alpha else (pixels, None, 1.0)

    return augment


def cutout(pixels: Tensor, side: int, mean: Sequence[float], numbers: Tensor) -> Tensor:
    """Fill a square of each image with the mean of each channel, which normalisation makes zero (DeVries & Taylor, Improved
    Regularization of Convolutional Neural Networks with Cutout, 2017, section 3).

    The square's centre is any pixel with equal probability, so a part of the square may lie outside the image. It covers the rows
    from centre - floor(side / 2), `side` of them, and as many columns.

    Args:
        pixels: uint8, shape (B, C, H, W).
        side: of the square, in pixels.
        mean: of each channel, in units of pixel values.
        numbers: int64 of at least 0, shape (B,), on the device: they draw the centres.

    Returns:
        float32, shape (B, C, H, W): a mean need not be a whole number.
    """
    height, width = pixels.shape[2:]
    centres = numbers % (height * width)
    square = _covered(height, side, centres // width)[:, :, None] & _covered(width, side, centres % width)[:, None, :]
    return torch.where(square[:, None], _channels(pixels.device, tuple(mean)), pixels.float())


def _covered(size: int, side: int, centres: Tensor) -> Tensor:
    """Which of `size` rows or columns a square covers: int64 (B,) -> bool (B, size)."""
    first = (centres - side // 2)[:, None]
    positions = torch.arange(size, device=centres.device)
    return (positions >= first) & (positions < first + side)


@functools.cache
def _channels(device: torch.device, values: tuple[float, ...]) -> Tensor:
    """Numbers for each channel, (C, 1, 1), put on the device once: each copy to a GPU makes it wait."""
    return torch.tensor(values, device=device)[:, None, None]


def auto_augment(pixels: Tensor, policy: str, numbers: Tensor) -> Tensor:
    """Change each image by a random one of the 25 pairs of operations of a policy (Cubuk et al., AutoAugment: Learning Augmentation
    Strategies from Data, 2019, Appendix A).

    The operations are torchvision's, with its defaults: nearest pixels, and black where an image was moved away. The paper's
    order is crop and mirror, AutoAugment, cutout. Image by image, some kernels each: a small network on a GPU waits for it.

    Args:
        pixels: uint8, shape (B, C, H, W), C = 1 or 3.
        policy: `cifar10`, `svhn` or `imagenet`: the images that it was found on.
        numbers: int64 of at least 0, shape (B,), on the CPU: the seeds of the images' generators.

    Returns:
        uint8, shape (B, C, H, W).
    """
    transform = _transform(policy)
    changed = []
    # torchvision draws from PyTorch's global generator, which goes on afterwards as if nothing had been drawn.
    with torch.random.fork_rng(devices=[]):
        for image, number in zip(pixels, numbers.tolist(), strict=True):
            torch.default_generator.manual_seed(number)
            changed.append(transform(image))
    return torch.stack(changed)


@functools.cache
def _transform(policy: str) -> Callable[[Tensor], Tensor]:
    import_torchvision()
    from torchvision.transforms.v2 import AutoAugment, AutoAugmentPolicy

    return AutoAugment(AutoAugmentPolicy[policy.upper()])


def mixup(pixels: Tensor, alpha: float, key: int, epoch: int, step: int, part: int) -> tuple[Tensor, Tensor, float]:
    """Mix each image with another: share x + (1 - share) x', share ~ Beta(alpha, alpha) (Zhang et al., mixup: Beyond Empirical Risk
    Minimization, 2018, section 1).

    As in the paper (Figure 1a), one share is drawn for a batch, the same in all its micro-batches and processes. The partners are
    a permutation of the micro-batch, all that a process sees (in the paper, of the batch): so an image's partner depends on
    recipe.micro_batch, but not on the number of processes.

    Args:
        pixels: uint8 or float32, shape (B, C, H, W).
        alpha: above 0; the smaller, the closer to 0 or 1 most shares are.
        key: of the generator.
        epoch, step: both from 0.
        part: number of the micro-batch within its batch, from 0.

    Returns:
        Mixed pixels, float32 (B, C, H, W); the positions of the partners in the micro-batch, int64 (B,); the images' own share.
    """
    from scipy.special import betaincinv

    # Counter 0 is the step's; raw numbers are the same in every NumPy, unlike those of Generator.beta.
    uniform = int(np.random.Philox(key=key, counter=[0, epoch, step, 0]).random_raw()) / 2**64
    share = float(betaincinv(alpha, alpha, uniform))
    drawn = np.random.Philox(key=key, counter=[0, epoch, step, part + 1]).random_raw(len(pixels))
    partners = _to(pixels.device, torch.from_numpy(np.argsort(drawn, kind="stable")))
    pixels = pixels.float()
    return share * pixels + (1 - share) * pixels[partners], partners, share


def over_both(value: Callable[[Tensor], Tensor], labels: Tensor, partners: Tensor | None, share: float) -> Tensor:
    """A value of labels, mixed as the images are: share value(labels) + (1 - share) value(labels[partners]).

    Mixup's loss is cross-entropy with mixed one-hot labels, which is linear in them, so that it is the mixed loss (Zhang et al.,
    2018, Figure 1a). Of other objectives the same is taken.

    Args:
        value: of labels, int64 (B,): a loss, or whether answers are wrong.
        labels: int64, shape (B,).
        partners: int64, shape (B,); None for images that are not mixed, whose value is `value(labels)`.
        share: of the images themselves.
    """
    if partners is None:
        return value(labels)
    return share * value(labels) + (1 - share) * value(labels[partners])


def _to(device: torch.device, numbers: Tensor) -> Tensor:
    """Numbers on the device; from pinned memory the copy does not make a GPU wait."""
    return numbers.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else numbers
