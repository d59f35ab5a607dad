"""Batches in parts: for gradients that are added up over several passes, or computed by several processes."""

import torch
from torch import nn


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
