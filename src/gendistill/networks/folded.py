"""A network that only looks, such as a teacher: batch norm inside the convolutions before it, sums and ReLU in place."""

import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import Node
from torch.fx.experimental.optimization import fuse
from torch.fx.passes.shape_prop import ShapeProp
from torch.fx.proxy import TraceError


@torch.no_grad()
def folded(network: nn.Module, images: Tensor) -> nn.Module:
    """A copy of `network` that gives the same outputs up to rounding, in less time.

    In eval mode batch norm is linear: gamma (x - mean) / sqrt(var + eps) + beta. Where it follows a convolution, the factors
    go into the weights and the rest into a bias, so that the numbers are read and written once less.

    Args:
        network: in eval mode, without gradients.
        images: such as it will be fed, float (B, C, H, W); they tell which sums have the shape of what they add to.

    Returns:
        A network with the same `forward`, and nothing else of it; `network` itself if it decides by the values of tensors.
    """
    try:
        found = fuse(network)
    except TraceError:
        return network
    ShapeProp(found).propagate(images)
    modules = dict(found.named_modules())
    for node in found.graph.nodes:
        if node.op == "call_module" and isinstance(modules[str(node.target)], nn.ReLU):
            node.op, node.target = "call_function", F.relu
        if node.target is F.relu and _can_be_written_over(node.args[0], node, modules):
            node.kwargs = {**node.kwargs, "inplace": True}
        if node.target is operator.add and _can_be_written_over(node.args[0], node, modules):
            node.target = operator.iadd
    found.recompile()
    return found.eval().requires_grad_(False)


def _can_be_written_over(node: Any, by: Node, modules: dict[str, nn.Module]) -> bool:
    """Whether nothing but `by` reads a result, a sum or what a convolution or batch norm computed, and both have one shape."""
    if not isinstance(node, Node) or len(node.users) > 1 or node.meta["tensor_meta"].shape != by.meta["tensor_meta"].shape:
        return False
    is_layer = node.op == "call_module" and isinstance(modules[str(node.target)], (nn.Conv2d, nn.BatchNorm2d))
    return is_layer or node.target in (operator.add, operator.iadd)
