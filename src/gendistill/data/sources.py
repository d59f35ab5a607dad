"""Where a training gets its pixels from: arrays in memory, or image files that are too many for it.

A source has `labels`, a length, and three methods: `draw_views` says which view each image shows in an epoch, `batches` gives
views in the order of training, `plain` gives the images themselves, in order, for evaluation.
"""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gendistill.data.images import is_index, load_images
from gendistill.data.views import ViewSpace, draw_views

ON_DISK = "gendistill.data.on_disk"


class Source(Protocol):
    """The images of one split and their labels, int64 (N,), on the device where the network is."""

    labels: Tensor

    def __len__(self) -> int: ...

    def draw_views(self, key: int, epoch: int) -> np.ndarray:
        """The view number of each image in an epoch, int64, shape (N,)."""

    def batches(self, order: Tensor, views: Tensor, batch_size: int) -> Iterator[Tensor]:
        """Views of the images in `order`, uint8 (B, C, H, W); `views` has the view number of every image, int64 (N,)."""

    def plain(self, batch_size: int, part: slice = slice(None)) -> Iterator[Tensor]:
        """All images, or those at the positions of `part`, in order: uint8 (B, C, H, W)."""


class ArrayImages:
    """Images in memory, on the device: uint8 (N, C, H, W); their views are those of a `ViewSpace`."""

    def __init__(self, images: Tensor, labels: Tensor, space: ViewSpace) -> None:
        self.images, self.labels, self.space = images, labels, space

    def __len__(self) -> int:
        return len(self.images)

    def draw_views(self, key: int, epoch: int) -> np.ndarray:
        return draw_views(key, epoch, len(self), self.space)

    @cached_property
    def windows(self) -> Tensor:
        return self.space.windows(self.images)

    def batches(self, order: Tensor, views: Tensor, batch_size: int) -> Iterator[Tensor]:
        for index in order.split(batch_size):
            yield self.space.take(self.windows, index, views[index])

    def plain(self, batch_size: int, part: slice = slice(None)) -> Iterator[Tensor]:
        images = self.images[part]
        yield from images.split(batch_size) if len(images) else ()


@dataclass(frozen=True)
class Data:
    """A data set as a training needs it.

    Attributes:
        splits: `train`, `test` and maybe `validation`.
        classes: number of classes.
        shape: channels, height and width that the network is fed.
        mean, std: of each channel of the training images, in units of pixel values (0 to 255).
        on_disk: whether the images are files, so that a pass over the training images is dear.
    """

    splits: dict[str, Source]
    classes: int
    shape: list[int]
    mean: list[float]
    std: list[float]
    on_disk: bool


def open_data(folder: Path, recipe: dict[str, Any], source: dict[str, Any], device: torch.device, threads: int) -> Data:
    """The data set that a dataset step prepared.

    Args:
        folder: of the dataset step.
        recipe: `pad` and `flip` say which views images in memory have.
        source: `path`: where the user's image files lie, if the data set is on disk.
        device: where the network is.
        threads: that decode image files.

    Raises:
        UserError: the file is missing or corrupt.
    """
    if is_index(folder):
        # Only steps on such data depend on how files are decoded, so the plan names the module in their specs.
        return importlib.import_module(ON_DISK).open_files(folder, Path(source["path"]), device, threads)
    data = load_images(folder)
    mean, std = data.mean_and_std()
    space = ViewSpace(recipe["pad"], recipe["flip"])
    arrays: dict[str, Source] = {
        split: ArrayImages(torch.from_numpy(data.images[split]).to(device), torch.from_numpy(data.labels[split]).to(device), space)
        for split in data.images
    }
    return Data(arrays, len(data.classes), list(data.shape), mean, std, on_disk=False)
