"""Which networks compute parts of themselves again in the backward pass, to need less memory."""

from collections.abc import Iterable
from typing import Any

# What is computed again is no part of the graph: neither second gradients nor layers in it can be had.
WITHIN = {"input", "maps", "weights"}


def as_trained(network: dict[str, Any], needs: Iterable[str]) -> dict[str, Any]:
    """The settings of a network as an objective with these `needs` trains it: nothing is computed again if it looks within."""
    return {**network, "recompute": False} if network.get("recompute") and WITHIN & set(needs) else network
