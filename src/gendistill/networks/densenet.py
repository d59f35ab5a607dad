"""DenseNet (Huang et al., Densely Connected Convolutional Networks, 2017, section 3), with less memory in training.

`recompute` follows Pleiss et al., Memory-Efficient Implementation of DenseNets, 2017: concatenations, norms and 1x1
convolutions are computed again in the backward pass instead of being kept, which makes memory linear in the depth.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.networks.grouped import PreActivation, draw_convolutions


class DenseNet(PreActivation):
    """A 3x3 convolution, three dense blocks with transitions between them, batch norm, average pooling, a linear layer.

    A group ends with its block, and begins with the transition between it and the block before; the 1x1 convolution after the
    last block, where there is one, belongs to the last group. Works for any image size and number of channels.

    Args:
        channels: channels of an image.
        classes: number of classes.
        units: units of each dense block.
        growth: channels that each unit adds.
        bottleneck: channels of the 1x1 convolution inside a unit, as a multiple of `growth`; 0 for none, 4 in DenseNet-B.
        compression: channels that a transition leaves, as a share; 0.5 in DenseNet-C.
        first_width: channels of the first convolution; 16, or 2 growth in DenseNet-BC.
        last_width: channels that one more 1x1 convolution leaves after the last block; 0 for none, as in the paper.
        recompute: compute parts of each unit again in the backward pass; same gradients and statistics, less memory.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        units: int,
        growth: int,
        bottleneck: int = 4,
        compression: float = 0.5,
        first_width: int = 16,
        last_width: int = 0,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, first_width, 3, padding=1, bias=False)
        self.groups = nn.ModuleList()
        width = first_width
        for i in range(3):
            layers: list[nn.Module] = []
            if i > 0:
                after = max(1, int(width * compression))
                layers, width = [Transition(width, after), halving()], after
            layers.append(Block(width, units, growth, bottleneck * growth, recompute))
            width += units * growth
            if i == 2 and last_width:
                layers.append(Transition(width, last_width))
                width = last_width
            self.groups.append(nn.Sequential(*layers))
        self.norm = nn.BatchNorm2d(width)
        self.classifier = nn.Linear(width, classes)
        draw_convolutions(self)


def halving() -> nn.Module:
    """Average pooling 2x2; an odd last row or column is kept, so that sizes are those of convolutions with stride 2."""
    return nn.AvgPool2d(2, ceil_mode=True)


class Transition(nn.Module):
    """Batch norm, ReLU, and a 1x1 convolution that changes the number of channels."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(before)
        self.conv = nn.Conv2d(before, after, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.relu(self.norm(x)))


class Block(nn.Module):
    """Units that each see the block's input and the outputs of all units before; the output is all of these together."""

    def __init__(self, before: int, units: int, growth: int, inner: int, recompute: bool) -> None:
        super().__init__()
        self.units = nn.ModuleList(Unit(before + i * growth, growth, inner) for i in range(units))
        self.recompute = recompute

    def forward(self, x: Tensor) -> Tensor:
        outputs = [x]
        for unit in self.units:
            outputs.append(unit(outputs, self.recompute and self.training and torch.is_grad_enabled()))
        return torch.cat(outputs, dim=1)


class Unit(nn.Module):
    """Batch norm, ReLU, 1x1 convolution, batch norm, ReLU, 3x3 convolution; the middle three are missing if `inner` is 0."""

    def __init__(self, before: int, growth: int, inner: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, inner, 1, bias=False) if inner else None
        self.norm2 = nn.BatchNorm2d(inner) if inner else None
        self.conv2 = nn.Conv2d(inner or before, growth, 3, padding=1, bias=False)

    def forward(self, inputs: list[Tensor], recompute: bool) -> Tensor:
        """One or more (B, C_i, H, W) -> (B, growth, H, W)."""
        if not recompute:
            return self.whole(inputs)
        if self.conv1 is None:
            return recomputed(self.whole, list(self.parameters()), inputs)
        cheap = [*self.norm1.parameters(), *self.conv1.parameters(), *self.norm2.parameters()]
        return self.conv2(recomputed(self.squeezed, cheap, inputs))

    def squeezed(self, inputs: list[Tensor], update: bool = True) -> Tensor:
        """All but the 3x3 convolution; `update` says whether to update the running statistics."""
        y = F.relu(normalised(self.norm1, torch.cat(inputs, dim=1), update))
        return y if self.conv1 is None else F.relu(normalised(self.norm2, self.conv1(y), update))

    def whole(self, inputs: list[Tensor], update: bool = True) -> Tensor:
        """All layers; `update` says whether to update the running statistics."""
        return self.conv2(self.squeezed(inputs, update))


def normalised(norm: nn.BatchNorm2d, x: Tensor, update: bool) -> Tensor:
    """`norm(x)`; without `update`, by the statistics of the batch, and the running statistics stay as they are."""
    return norm(x) if update else F.batch_norm(x, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)


def recomputed(function: Callable[..., Tensor], parameters: list[Tensor], inputs: list[Tensor]) -> Tensor:
    """`function(inputs)`, whose intermediate results are computed again in the backward pass, with `update=False`.

    Unlike torch.utils.checkpoint, it leaves running statistics alone the second time and does not import the compiler.
    `parameters` are those that `function` uses.
    """
    return _Recompute.apply(function, len(parameters), *parameters, *inputs)


class _Recompute(torch.autograd.Function):
    """The work of `recomputed`."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], parameters: int, *tensors: Tensor) -> Tensor:
        device = tensors[-1].device.type
        ctx.function, ctx.parameters = function, parameters
        ctx.autocast = (device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))
        ctx.save_for_backward(*tensors)
        return function(list(tensors[parameters:]))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("what is computed again has no second gradients: build the network with recompute=False")
        parameters = ctx.saved_tensors[: ctx.parameters]
        inputs = [x.detach().requires_grad_(x.requires_grad) for x in ctx.saved_tensors[ctx.parameters :]]
        with torch.enable_grad(), torch.autocast(*ctx.autocast):
            output = ctx.function(inputs, update=False)
        needed = [x.requires_grad for x in (*parameters, *inputs)]
        wanted = [x for x in (*parameters, *inputs) if x.requires_grad]
        found = iter(torch.autograd.grad(output, wanted, gradient))
        return None, None, *(next(found) if need else None for need in needed)
