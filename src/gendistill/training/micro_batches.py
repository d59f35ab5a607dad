"""Batches in parts: for gradients that are added up over several passes, or computed by several processes."""

from typing import Any

import torch
from torch import nn

from gendistill.errors import SettingError


def micro_batch_size(recipe: dict[str, Any], processes: int) -> int:
    """The images in a micro-batch: `recipe.micro_batch`, but no more than a batch; null is the whole batch.

    What is computed from several images at once, such as the statistics of batch norm, is computed within a micro-batch, so
    a result does not depend on the number of processes, nor on how many micro-batches a process computes.

    Raises:
        SettingError: a batch is no whole number of micro-batches, or has fewer of them than there are processes.
    """
    batch = recipe["batch_size"]
    size = min(recipe.get("micro_batch") or batch, batch)
    if batch % size:
        raise SettingError(
            f"recipe.micro_batch = {size}: recipe.batch_size = {batch} must be a multiple of it. Set one of the two in the recipe."
        )
    if batch < processes:
        raise SettingError(f"runtime.processes = {processes}: a batch has {batch} images. Set it to {batch} or less.")
    if batch // size < processes:
        fitting = max(n for n in range(1, batch // processes + 1) if batch % n == 0)
        raise SettingError(
            f"recipe.micro_batch = {recipe.get('micro_batch')}: a batch of recipe.batch_size = {batch} is {batch // size} of them, "
            f"too few for runtime.processes = {processes}. Set recipe.micro_batch to {fitting} or less (batch norm then takes its "
            f"statistics over as many images), or runtime.processes to {batch // size}."
        )
    return size


def share_out(first: int, last: int, size: int, rank: int, count: int) -> list[tuple[int, slice]]:
    """The micro-batches that process `rank` of `count` takes of the batch of the images `first` to `last` - 1 in the order.

    Returns:
        For each its number in the batch, and where it lies in the order.
    """
    numbered = enumerate(slice(start, min(start + size, last)) for start in range(first, last, size))
    return list(numbered)[rank::count]


class Buffers:
    """The buffers of a network, such as the running statistics of batch norm, over one step of several micro-batches.

    Each micro-batch starts from the buffers before the step, and the step leaves their mean, weighted by images: one update
    per step, whatever the number of micro-batches and processes.
    """

    def __init__(self, network: nn.Module) -> None:
        self.buffers = list(network.buffers())
        self.before = [buffer.clone() for buffer in self.buffers]
        # In float64 a counter that is the same in all micro-batches stays exact.
        self.totals = [torch.zeros_like(buffer, dtype=torch.float64) for buffer in self.buffers]

    def take(self, images: int) -> None:
        """Count the buffers as a micro-batch of so many images has left them, and put back those before the step."""
        for buffer, total, before in zip(self.buffers, self.totals, self.before, strict=True):
            total += images * buffer.double()
            buffer.copy_(before)

    def finish(self, images: int) -> None:
        """Set the buffers to the mean, once `totals` has been added up over all `images` of the step."""
        for buffer, total in zip(self.buffers, self.totals, strict=True):
            buffer.copy_(total / images)
