"""MobileNetV3-Large (Howard et al., Searching for MobileNetV3, 2019, Table 1)."""

import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.networks.grouped import Grouped, draw_convolutions
from gendistill.networks.mobilenet_v2 import multiple_of_8

# Of each group, of each block: kernel size, channels inside, channels after it, squeeze-and-excitation, hard swish for ReLU.
# The first convolution and the first block of each group but the first have stride 2.
GROUPS = (
    ((3, 16, 16, False, False),),
    ((3, 64, 24, False, False), (3, 72, 24, False, False)),
    ((5, 72, 40, True, False), (5, 120, 40, True, False), (5, 120, 40, True, False)),
    (
        (3, 240, 80, False, True),
        (3, 200, 80, False, True),
        (3, 184, 80, False, True),
        (3, 184, 80, False, True),
        (3, 480, 112, True, True),
        (3, 672, 112, True, True),
    ),
    ((5, 672, 160, True, True), (5, 960, 160, True, True), (5, 960, 160, True, True)),
)


class MobileNetV3(Grouped):
    """A 3x3 convolution, five groups of 1, 2, 3, 6 and 3 blocks, a 1x1 convolution, average pooling, two linear layers.

    The last 1x1 convolution belongs to the last group, the first of the linear layers, with hard swish, to the pooling. Works
    for any image size and number of channels, but divides the resolution by 32.

    Args:
        channels: channels of an image.
        classes: number of classes.
        width: what the channels of all layers are multiplied with; they are rounded to multiples of 8.
        last_width: outputs of the first linear layer, 1280 in the paper; multiplied with `width` if that is above 1.
        least_squeeze: the least channels inside a squeeze-and-excitation, which has a quarter of the block's.
    """

    def __init__(self, channels: int, classes: int, width: float = 1.0, last_width: int = 1280, least_squeeze: int = 8) -> None:
        super().__init__()
        before = multiple_of_8(16 * width)
        self.stem = nn.Conv2d(channels, before, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(before)
        self.groups = nn.ModuleList()
        for i, blocks in enumerate(GROUPS):
            layers: list[nn.Module] = []
            for j, (size, inner_channels, channels_after, squeezes, swishes) in enumerate(blocks):
                inner, after = multiple_of_8(inner_channels * width), multiple_of_8(channels_after * width)
                squeeze = max(least_squeeze, multiple_of_8(inner // 4)) if squeezes else 0
                layers.append(Block(before, inner, after, size, 2 if i > 0 and j == 0 else 1, squeeze, swishes))
                before = after
            self.groups.append(nn.Sequential(*layers))
        widest, last = multiple_of_8(960 * width), multiple_of_8(last_width * max(1.0, width))
        self.groups[-1].extend([nn.Conv2d(before, widest, 1, bias=False), nn.BatchNorm2d(widest), nn.Hardswish()])
        self.hidden = nn.Linear(widest, last)
        self.classifier = nn.Linear(last, classes)
        draw_convolutions(self)

    def begin(self, images: Tensor) -> Tensor:
        """What comes before the first group: float (B, C, H, W) -> (B, C_0, H / 2, W / 2)."""
        return F.hardswish(self.norm(self.stem(images)))

    def pool(self, last_map: Tensor) -> Tensor:
        """Penultimate features of the last group's output: (B, F_0, H, W) -> (B, F)."""
        return F.hardswish(self.hidden(last_map.mean(dim=(2, 3))))


class Block(nn.Module):
    """A 1x1 convolution, one of each channel by itself, squeeze-and-excitation, a 1x1 convolution without activation.

    The first is missing if `inner` is `before`, the third if `squeeze` is 0. The input is added to the output where their shapes
    are equal.
    """

    def __init__(self, before: int, inner: int, after: int, size: int, stride: int, squeeze: int, swishes: bool) -> None:
        super().__init__()
        self.expand = nn.Conv2d(before, inner, 1, bias=False) if inner != before else None
        self.norm1 = nn.BatchNorm2d(inner) if inner != before else None
        self.depthwise = nn.Conv2d(inner, inner, size, stride=stride, padding=size // 2, groups=inner, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.function = F.hardswish if swishes else F.relu
        self.activation = nn.Hardswish() if swishes else nn.ReLU()
        self.excite = Excitation(inner, squeeze) if squeeze else None
        self.project = nn.Conv2d(inner, after, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(after)
        self.adds = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else self.function(self.norm1(self.expand(x)))
        y = self.activation(self.norm2(self.depthwise(y)))
        y = y if self.excite is None else self.excite(y)
        y = self.norm3(self.project(y))
        return x + y if self.adds else y


class Excitation(nn.Module):
    """Each channel times a factor, 0 to 1, computed from the means of all (Hu et al., Squeeze-and-Excitation Networks, 2018)."""

    def __init__(self, channels: int, squeeze: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, squeeze, 1)
        self.up = nn.Conv2d(squeeze, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(dim=(2, 3), keepdim=True)
        return x * F.hardsigmoid(self.up(F.relu(self.down(means))))
