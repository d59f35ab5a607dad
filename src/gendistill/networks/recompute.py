"""Which networks compute parts of themselves again in the backward pass, to need less memory."""

from collections.abc import Iterable
from typing import Any

# What is computed again is no part of the graph: neither second gradients nor layers in it can be had.
WITHIN = {"input", "maps", "weights"}


def as_trained(network: dict[str, Any], needs: Iterable[str]) -> dict[str, Any]:
    """The settings of a network as an objective with these `needs` trains it: nothing is computed again if it looks within."""
    return computed_once(network) if WITHIN & set(needs) else network


def computed_once(network: dict[str, Any]) -> dict[str, Any]:
    """The settings of a network, and of those that it is made of, without anything that is computed again."""
    once = {**network, "recompute": False} if network.get("recompute") else network
    return {**once, "networks": [computed_once(each) for each in once["networks"]]} if "networks" in once else once
