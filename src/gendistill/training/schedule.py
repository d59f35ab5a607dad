"""Learning rate over the course of a training."""

import math
from typing import Any


def learning_rate(recipe: dict[str, Any], epoch: int, progress: float) -> float:
    """The learning rate of one step.

    `steps`: multiplied by `factor` when a share of the epochs that `milestones` names has passed, rounded to whole epochs.
    `cosine`: rate * (1 + cos(pi * progress)) / 2 (Loshchilov & Hutter, SGDR, 2017, Eqn 5, without restarts).

    Args:
        recipe: the settings of the recipe group.
        epoch: number of the epoch, from 0.
        progress: share of all training steps that are done, 0 to 1.
    """
    if recipe["schedule"] == "cosine":
        return recipe["learning_rate"] * 0.5 * (1 + math.cos(math.pi * progress))
    passed = sum(epoch >= round(share * recipe["epochs"]) for share in recipe["milestones"])
    return recipe["learning_rate"] * recipe["factor"] ** passed
