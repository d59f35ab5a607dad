"""Learning rate of an epoch, from the validation perplexities before it."""

from itertools import pairwise
from typing import Any


def learning_rate(recipe: dict[str, Any], perplexities: list[float]) -> float:
    """The rate after epochs with these validation perplexities (BAN section 4.2).

    Each time that the perplexity does not decrease from one epoch to the next, or decreases by less than
    `cut_unless_decreased_by`, the rate is multiplied by `cut_factor`.
    """
    rate = recipe["learning_rate"]
    for before, after in pairwise(perplexities):
        if after >= before or before - after < recipe["cut_unless_decreased_by"]:
            rate *= recipe["cut_factor"]
    return rate
