"""Views: the distinct augmented versions of an image, and which one each image shows in each epoch.

Padding by p pixels and cropping to the original size gives (2p+1)^2 crops, twice as many with flips: 162 for CIFAR's
p = 4 with flips. A view is its number; drawing numbers instead of pixels lets a teacher's outputs be dumped once.
"""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gendistill.errors import SettingError


@dataclass(frozen=True)
class ViewSpace:
    """All views of an image: crops of the image padded by `pad` black pixels, and with `flip` their mirror images.

    View number = (top * (2 * pad + 1) + left) * (2 if flip else 1) + mirrored.
    """

    pad: int
    flip: bool

    def __len__(self) -> int:
        return (2 * self.pad + 1) ** 2 * (2 if self.flip else 1)

    @property
    def plain(self) -> int:
        """The number of the view that is the image itself."""
        return (self.pad * (2 * self.pad + 1) + self.pad) * (2 if self.flip else 1)

    def windows(self, images: Tensor) -> Tensor:
        """All crops of `images` without copying them: uint8 (N, C, H, W) -> (N, C, 2 pad + 1, 2 pad + 1, H, W).

        Raises:
            SettingError: the padding is larger than the image.
        """
        height, width = images.shape[2:]
        if self.pad > min(height, width):
            raise SettingError(
                f"recipe.pad = {self.pad}: larger than the images, which are {height}x{width}; it must be at most "
                f"{min(height, width)}. Set it in the recipe of the experiment."
            )
        padded = F.pad(images, (self.pad,) * 4)
        return padded.unfold(2, height, 1).unfold(3, width, 1)

    def take(self, windows: Tensor, images: Tensor, views: Tensor) -> Tensor:
        """One view of each named image.

        Args:
            windows: what `windows` returned.
            images: positions of the images, int64, shape (B,).
            views: view numbers, int64, shape (B,).

        Returns:
            uint8, shape (B, C, H, W).
        """
        mirrored = views % 2 if self.flip else torch.zeros_like(views)
        crop = views // 2 if self.flip else views
        side = 2 * self.pad + 1
        taken = windows[images, :, crop // side, crop % side]
        return torch.where(mirrored.bool()[:, None, None, None], taken.flip(-1), taken) if self.flip else taken


def derive_key(purpose: str, seed: int, generation: int, member: int) -> int:
    """A 128-bit key for one purpose of one network: independent for any difference in the arguments."""
    text = json.dumps([purpose, seed, generation, member])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")


def draw_views(key: int, epoch: int, count: int, space: ViewSpace) -> np.ndarray:
    """The view that each of `count` images shows in an epoch, int64, shape (count,).

    Image i has the i-th number of a counter-based generator (Philox) at counter `epoch`: it depends on key, epoch and
    image only, not on the order of the images or on what was drawn before.
    """
    return (draw_numbers(key, epoch, count) % np.uint64(len(space))).astype(np.int64)


def draw_order(key: int, epoch: int, count: int) -> np.ndarray:
    """The order in which an epoch visits `count` images: a permutation, int64, shape (count,)."""
    return np.argsort(draw_numbers(key, epoch, count), kind="stable")


def draw_numbers(key: int, epoch: int, count: int) -> np.ndarray:
    """The first `count` numbers of a counter-based generator (Philox) at counter `epoch`: uint64, shape (count,)."""
    return np.random.Philox(key=key, counter=[0, epoch, 0, 0]).random_raw(count)
