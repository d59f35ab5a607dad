"""MobileNet for small images (Howard et al., MobileNets: Efficient CNNs for Mobile Vision Applications, 2017, Table 1)."""

import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.networks.grouped import Grouped, draw_convolutions

# Of each group: its blocks, and its channels as a multiple of the first convolution's.
GROUPS = ((1, 2), (2, 4), (2, 8), (6, 16), (2, 32))


class MobileNet(Grouped):
    """A 3x3 convolution, five groups of 1, 2, 2, 6 and 2 separable convolutions, average pooling, a linear layer.

    The first convolution has stride 1 (2 in the paper); each group but the first halves the resolution and doubles the channels.
    Works for any image size and number of channels.

    Args:
        channels: channels of an image.
        classes: number of classes.
        width: channels of the first convolution; 32 in the paper.
    """

    def __init__(self, channels: int, classes: int, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.groups = nn.ModuleList()
        before = width
        for i, (blocks, multiple) in enumerate(GROUPS):
            after = multiple * width
            layers = [Separable(before, after, 1 if i == 0 else 2), *(Separable(after, after, 1) for _ in range(blocks - 1))]
            self.groups.append(nn.Sequential(*layers))
            before = after
        self.classifier = nn.Linear(before, classes)
        draw_convolutions(self)

    def begin(self, images: Tensor) -> Tensor:
        """What comes before the first group: float (B, C, H, W) -> (B, width, H, W)."""
        return F.relu(self.norm(self.stem(images)))


class Separable(nn.Module):
    """A 3x3 convolution of each channel by itself and a 1x1 convolution, each with batch norm and ReLU."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(before, before, 3, stride=stride, padding=1, groups=before, bias=False)
        self.norm1 = nn.BatchNorm2d(before)
        self.pointwise = nn.Conv2d(before, after, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.depthwise(x)))
        return self.relu(self.norm2(self.pointwise(y)))
