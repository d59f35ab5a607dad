"""What a network costs: floating-point operations and parameters, counted without computing anything."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from gendistill.targets import instantiate


def build_on_meta(settings: dict[str, Any], **size: int) -> nn.Module:
    """The network of `settings` without memory for its weights; `size` is what its class takes besides (channels, classes)."""
    with torch.device("meta"):
        return instantiate(settings)(**size)


def forward_flops(network: nn.Module, *inputs: Any) -> int:
    """Floating-point operations of one forward pass on meta tensors: two for each multiplication and addition.

    Counts matrix products and convolutions, which are nearly all of a network's work.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(*inputs)
    return counter.get_total_flops()


def image_flops(settings: dict[str, Any], shape: Sequence[int], classes: int) -> int:
    """Floating-point operations of one forward pass over one image of shape (C, H, W)."""
    network = build_on_meta(settings, channels=shape[0], classes=classes)
    return forward_flops(network, torch.zeros(1, *shape, device="meta"))
