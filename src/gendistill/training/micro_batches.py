"""Batches in parts: for gradients that are added up over several passes, or computed by several processes."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from gendistill.training.processes import Processes


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


class Gradients:
    """The gradients of one step, added up over its micro-batches, and which weights any of them reached.

    A weight that no loss reaches stays as it is, without weight decay: in hint training all layers above the guided one.

    Attributes:
        sums: one for each weight; None where no loss has reached it.
    """

    def __init__(self, weights: list[Tensor]) -> None:
        self.weights = weights
        self.sums: list[Tensor | None] = [None] * len(weights)

    def take(self, loss: Tensor) -> None:
        """Add the gradients of one micro-batch's share of the loss."""
        found = torch.autograd.grad(loss, self.weights, allow_unused=True)
        pairs = zip(self.sums, found, strict=True)
        self.sums = [new if old is None else old if new is None else old + new for old, new in pairs]

    def add_up(self, processes: "Processes", others: list[Tensor], all_reached: bool) -> None:
        """Put the sums over all processes in place of the gradients, and of other tensors.

        Args:
            processes: of the training.
            others: what is added up in the same call.
            all_reached: whether every weight is reached; else the processes have to tell each other which.
        """
        reached = torch.tensor([[all_reached or total is not None for total in self.sums]])
        if not all_reached:
            reached = processes.gather(reached.int())
        totals = [
            torch.zeros_like(weight) if total is None else total for weight, total in zip(self.weights, self.sums, strict=True)
        ]
        processes.add_up([*totals, *others])
        self.sums = [total if any_reached else None for total, any_reached in zip(totals, reached.any(0).tolist(), strict=True)]

    def learning(self) -> list[int]:
        """The numbers of the weights that a loss has reached."""
        return [number for number, total in enumerate(self.sums) if total is not None]
