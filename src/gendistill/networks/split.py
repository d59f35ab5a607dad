"""Networks taken apart between their groups, for branches and for exits on the way."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from gendistill.networks.grouped import Grouped

# Of the images that shapes are found with: a power of 2, so that halvings can be counted.
SIZE = 64
T = TypeVar("T")


def map_shapes(network: Grouped, channels: int) -> list[tuple[int, int]]:
    """Of what the first group is given and of the output of each group: channels, and height for square images of SIZE."""
    images = _blank_images(network, channels)
    maps = _looking(network, lambda: [network.begin(images), *network.maps(images)])
    return [(each.shape[1], each.shape[2]) for each in maps]


def keep_first(network: Grouped, count: int, channels: int) -> Grouped:
    """Remove, in place, all layers but those before the first group and the first `count` groups."""
    kept = {*_layers_of_begin(network, channels), "groups"}
    for name in [name for name, _ in network.named_children() if name not in kept]:
        delattr(network, name)
    network.groups = network.groups[:count]
    return network


def keep_last(network: Grouped, count: int, channels: int) -> Grouped:
    """Remove, in place, the layers before the first group and all but the last `count` groups."""
    for name in _layers_of_begin(network, channels):
        delattr(network, name)
    network.groups = network.groups[len(network.groups) - count :]
    return network


def _layers_of_begin(network: Grouped, channels: int) -> list[str]:
    """Names of the layers that `network.begin` uses."""
    used: list[str] = []

    def note(name: str) -> torch.utils.hooks.RemovableHandle:
        return getattr(network, name).register_forward_hook(lambda *_: used.append(name))

    handles = [note(name) for name, _ in network.named_children()]
    _looking(network, lambda: network.begin(_blank_images(network, channels)))
    for handle in handles:
        handle.remove()
    return used


def _blank_images(network: nn.Module, channels: int) -> Tensor:
    return torch.zeros(1, channels, SIZE, SIZE, device=next(network.parameters()).device)


@torch.no_grad()
def _looking(network: nn.Module, function: Callable[[], T]) -> T:
    """`function()` with the network in eval mode, so that its statistics stay as they are."""
    training = network.training
    network.eval()
    found = function()
    network.train(training)
    return found
