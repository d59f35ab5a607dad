"""Of how many views a teacher's outputs are dumped: of all, or of those that the students draw when these are few."""

from typing import Any

# Up to this share of all views, only those that are drawn are dumped. Above it a dump of all costs little more, and other
# students of the same teacher, of another generation or with other epochs, can use it too.
FEW = 0.5


def view_count(pad: int, flip: bool) -> int:
    """The number of distinct views of an image."""
    return (2 * pad + 1) ** 2 * (2 if flip else 1)


def distilled_epochs(distil_until: float, epochs: int) -> int:
    """For how many of its epochs, from the first, a student learns from its teacher; `distil_until` is their share."""
    return round(distil_until * epochs)


def first_epochs(objective: dict[str, Any], epochs: int) -> int:
    """How many epochs the first stage of an objective takes, before `epochs` others: at least one if it has a first stage."""
    share = max(own.get("first_stage", 0.0) for own in objective.get("terms", {"": objective}).values())
    return max(1, round(share * epochs)) if share else 0


def expected_views(epochs: int, pad: int, flip: bool) -> float:
    """How many distinct views of an image are drawn in `epochs` epochs, on average over keys.

    Each epoch draws one of V views with equal probability: V (1 - (1 - 1/V)^epochs).
    """
    views = view_count(pad, flip)
    return views * (1 - (1 - 1 / views) ** epochs)


def draws_few(epochs: int, pad: int, flip: bool) -> bool:
    """Whether students that learn from their teacher for `epochs` epochs see so few views that no others are dumped."""
    return epochs > 0 and expected_views(epochs, pad, flip) <= FEW * view_count(pad, flip)
