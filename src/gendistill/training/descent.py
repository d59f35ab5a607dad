"""One step of stochastic gradient descent."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.sgd import sgd

from gendistill.precision import REFERENCE
from gendistill.training.micro_batches import Gradients


def is_fused(recipe: dict[str, Any]) -> bool:
    """Whether one kernel changes all weights."""
    return recipe["precision"] != REFERENCE


def as_taken(rates: list[float], recipe: dict[str, Any], device: torch.device) -> list[float] | Tensor:
    """Learning rates as `descend` takes them: the one kernel looks for its own on the device, float32 ()."""
    return torch.tensor(rates, device=device) if is_fused(recipe) else rates


@torch.no_grad()
def descend(
    weights: list[Tensor], gradients: Gradients, momenta: list[Tensor | None], rate: Tensor | float, recipe: dict[str, Any]
) -> None:
    """Change in place the weights that a loss has reached, and their momenta.

    Args:
        weights: all that are trained.
        gradients: of the step.
        momenta: one for each weight; None where no loss has reached it yet.
        rate: the learning rate, one of those that `as_taken` gives.
        recipe: the settings of the recipe group.
    """
    learning = gradients.learning()
    moved = [momenta[number] for number in learning]
    if any(momentum is not None for momentum in moved):
        # Of a weight that is reached for the first time; all None, in the first step, comes to the same.
        moved = [torch.zeros_like(weights[n]) if m is None else m for n, m in zip(learning, moved, strict=True)]
    # The function behind torch.optim.SGD, whose class would first import the compiler, which takes a second.
    sgd(
        [weights[number] for number in learning],
        [gradients.sums[number] for number in learning],
        moved,
        lr=rate,
        momentum=recipe["momentum"],
        nesterov=recipe["nesterov"],
        weight_decay=recipe["weight_decay"],
        dampening=0.0,
        maximize=False,
        fused=is_fused(recipe),
    )
    for number, momentum in zip(learning, moved, strict=True):
        momenta[number] = momentum
