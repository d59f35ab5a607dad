"""ResNet for large images (He et al., Deep Residual Learning for Image Recognition, 2016, Table 1), with torchvision's names.

As in torchvision, bottlenecks have the stride in the 3x3 convolution (in the paper, in the first 1x1 convolution).
"""

import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.errors import SettingError
from gendistill.networks.grouped import Grouped, draw_convolutions

BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
EXPANSION = 4


class ImageNetResNet(Grouped):
    """A 7x7 convolution and max pooling, each with stride 2, four groups of blocks, average pooling, a linear layer.

    Works for any image size and number of channels, but divides the resolution by 32, or for small images by 8.

    Args:
        channels: channels of an image.
        classes: number of classes.
        depth: 18 or 34, with two 3x3 convolutions a block; 50, 101 or 152, with bottlenecks; 10, one block a group, for trials.
        width: channels of the first group's 3x3 convolutions; 64 in the paper.
        small_images: begin with a 3x3 convolution with stride 1, without max pooling.

    Raises:
        SettingError: there is no such depth.
    """

    def __init__(self, channels: int, classes: int, depth: int, width: int = 64, small_images: bool = False) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise SettingError(f"network.depth = {depth}: must be one of {', '.join(map(str, BLOCKS))}")
        self.small_images = small_images
        size, stride = (3, 1) if small_images else (7, 2)
        self.stem = nn.Conv2d(channels, width, size, stride=stride, padding=size // 2, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.groups = nn.ModuleList()
        before = width
        for i, blocks in enumerate(BLOCKS[depth]):
            inner, stride = width * 2**i, 1 if i == 0 else 2
            after = EXPANSION * inner if depth >= 50 else inner
            layers = [_block(before, inner, after, stride), *(_block(after, inner, after, 1) for _ in range(blocks - 1))]
            self.groups.append(nn.Sequential(*layers))
            before = after
        self.classifier = nn.Linear(before, classes)
        draw_convolutions(self)

    def begin(self, images: Tensor) -> Tensor:
        """What comes before the first group: float (B, C, H, W) -> (B, width, H / 4, W / 4), or (B, width, H, W) if small."""
        x = F.relu(self.norm(self.stem(images)))
        return x if self.small_images else F.max_pool2d(x, 3, stride=2, padding=1)


def _block(before: int, inner: int, after: int, stride: int) -> nn.Module:
    return BasicBlock(before, after, stride) if inner == after else Bottleneck(before, inner, after, stride)


def projection(before: int, after: int, stride: int) -> nn.Module | None:
    """The shortcut where the shape changes: a 1x1 convolution and batch norm."""
    if stride == 1 and before == after:
        return None
    return nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample = projection(before, after, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """A 1x1, a 3x3 (in `cardinality` parts that see nothing of each other) and a 1x1 convolution, and a shortcut."""

    def __init__(self, before: int, inner: int, after: int, stride: int, cardinality: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, groups=cardinality, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.downsample = projection(before, after, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))
