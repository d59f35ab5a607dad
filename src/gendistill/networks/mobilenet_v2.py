"""MobileNetV2 (Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, 2018, Table 2)."""

import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.networks.grouped import Grouped, draw_convolutions

# Of each group: the blocks' channels. The first convolution and the first block of each group but the first have stride 2.
GROUPS = ((16,), (24,) * 2, (32,) * 3, (64,) * 4 + (96,) * 3, (160,) * 3 + (320,))


class MobileNetV2(Grouped):
    """A 3x3 convolution, five groups of 1, 2, 3, 7 and 4 inverted residuals, a 1x1 convolution, average pooling, a linear layer.

    The last 1x1 convolution belongs to the last group. Works for any image size and number of channels, but divides the
    resolution by 32.

    Args:
        channels: channels of an image.
        classes: number of classes.
        width: what the channels of all layers are multiplied with; they are rounded to multiples of 8.
        expansion: channels inside a block, as a multiple of those that it is given; the first block has no more than these.
        last_width: channels of the last 1x1 convolution, 1280 in the paper; multiplied with `width` if that is above 1.
    """

    def __init__(self, channels: int, classes: int, width: float = 1.0, expansion: int = 6, last_width: int = 1280) -> None:
        super().__init__()
        before = multiple_of_8(32 * width)
        self.stem = nn.Conv2d(channels, before, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(before)
        self.groups = nn.ModuleList()
        for i, blocks in enumerate(GROUPS):
            layers: list[nn.Module] = []
            for j, channels_after in enumerate(blocks):
                after, inner = multiple_of_8(channels_after * width), before * (1 if i == 0 else expansion)
                layers.append(InvertedResidual(before, inner, after, 2 if i > 0 and j == 0 else 1))
                before = after
            self.groups.append(nn.Sequential(*layers))
        last = multiple_of_8(last_width * max(1.0, width))
        self.groups[-1].extend([nn.Conv2d(before, last, 1, bias=False), nn.BatchNorm2d(last), nn.ReLU6()])
        self.classifier = nn.Linear(last, classes)
        draw_convolutions(self)

    def begin(self, images: Tensor) -> Tensor:
        """What comes before the first group: float (B, C, H, W) -> (B, C_0, H / 2, W / 2)."""
        return F.relu6(self.norm(self.stem(images)))


class InvertedResidual(nn.Module):
    """A 1x1 convolution (missing if `inner` is `before`), a 3x3 one of each channel by itself, a 1x1 one without activation.

    The input is added to the output where their shapes are equal.
    """

    def __init__(self, before: int, inner: int, after: int, stride: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(before, inner, 1, bias=False) if inner != before else None
        self.norm1 = nn.BatchNorm2d(inner) if inner != before else None
        self.depthwise = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, groups=inner, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.relu = nn.ReLU6()
        self.project = nn.Conv2d(inner, after, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(after)
        self.adds = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.norm1(self.expand(x)))
        y = self.relu(self.norm2(self.depthwise(y)))
        y = self.norm3(self.project(y))
        return x + y if self.adds else y


def multiple_of_8(channels: float) -> int:
    """The nearest multiple of 8, at least 8, and not below 0.9 `channels`."""
    found = max(8, int(channels + 4) // 8 * 8)
    return found if found >= 0.9 * channels else found + 8
