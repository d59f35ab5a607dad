"""PyramidNet of depth 9n+2 (Han et al., Deep Pyramidal Residual Networks, 2017): additive, with bottlenecks.

After each unit there are alpha / 3n more channels (Eqn 3), so the width grows with the depth rather than at each group. Shortcuts
have no weights: average pooling, and new channels of zeros (section 3.3). Each unit begins with batch norm without ReLU, and ends
with batch norm (section 4.3, d).
"""

import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.errors import SettingError
from gendistill.networks.grouped import PreActivation, draw_convolutions

EXPANSION = 4


class PyramidNet(PreActivation):
    """A 3x3 convolution and batch norm, three groups of n bottlenecks, batch norm and ReLU, average pooling, a linear layer.

    Bottleneck k of 3n has round(width + k alpha / 3n) channels inside and four times as many after it. Works for any image size
    and number of channels.

    Args:
        channels: channels of an image.
        classes: number of classes.
        depth: 9n + 2.
        alpha: channels that the bottlenecks add together, inside.
        width: channels of the first convolution; 16 in the paper.

    Raises:
        SettingError: `depth` is not 9n + 2.
    """

    def __init__(self, channels: int, classes: int, depth: int, alpha: int, width: int = 16) -> None:
        super().__init__()
        if depth < 11 or (depth - 2) % 9:
            raise SettingError(f"network.depth = {depth}: must be 9n+2 with n of at least 1: 11, 20, 29, ...")
        blocks = (depth - 2) // 9
        self.stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.groups = nn.ModuleList()
        before, k = width, 0
        for i in range(3):
            layers = []
            for j in range(blocks):
                k += 1
                inner = round(width + k * alpha / (3 * blocks))
                layers.append(PyramidBottleneck(before, inner, 2 if i > 0 and j == 0 else 1))
                before = EXPANSION * inner
            self.groups.append(nn.Sequential(*layers))
        self.norm = nn.BatchNorm2d(before)
        self.classifier = nn.Linear(before, classes)
        draw_convolutions(self)

    def begin(self, images: Tensor) -> Tensor:
        """What comes before the first group: float (B, C, H, W) -> (B, width, H, W)."""
        return self.first_norm(self.stem(images))

    def before_relu(self) -> list[str]:
        """The batch norm before the last ReLU inside each group but the last, and the one after it: no ReLU is between groups."""
        return [*(f"groups.{i}.{len(group) - 1}.norm3" for i, group in enumerate(self.groups[:-1])), "norm"]


class PyramidBottleneck(nn.Module):
    """Batch norm before and after each of a 1x1, a 3x3 and a 1x1 convolution; ReLU after the second and third batch norm."""

    def __init__(self, before: int, inner: int, stride: int) -> None:
        super().__init__()
        after = EXPANSION * inner
        self.norm1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, inner, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, after, 1, bias=False)
        self.norm4 = nn.BatchNorm2d(after)
        self.stride = stride
        self.new_channels = after - before

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.norm1(x))
        y = self.conv2(F.relu(self.norm2(y)))
        y = self.norm4(self.conv3(F.relu(self.norm3(y))))
        shortcut = x if self.stride == 1 else F.avg_pool2d(x, 2, ceil_mode=True)
        return y + F.pad(shortcut, (0, 0, 0, 0, 0, self.new_channels))
