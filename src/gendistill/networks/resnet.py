"""CIFAR ResNet of depth 6n+2 (He et al., Deep Residual Learning for Image Recognition, 2016, section 4.2)."""

import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.errors import SettingError
from gendistill.networks.grouped import Grouped, draw_convolutions


class ResNet(Grouped):
    """A 3x3 convolution, three groups of n blocks with width, 2 width and 4 width channels, average pooling, a linear layer.

    Works for any image size and number of channels.

    Args:
        channels: channels of an image.
        classes: number of classes.
        depth: 6n + 2.
        shortcut: where the shape changes, `A` subsamples and pads with zero channels, `B` is a 1x1 convolution.
        width: channels of the first group; 16 in the paper.
        first_width: channels of the first convolution; `width` if None, as in the paper.

    Raises:
        SettingError: `depth` is not 6n + 2, or `first_width` is more than shortcut A can pad to `width`.
    """

    def __init__(
        self, channels: int, classes: int, depth: int, shortcut: str = "A", width: int = 16, first_width: int | None = None
    ) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise SettingError(f"network.depth = {depth}: must be 6n+2 with n of at least 1: 8, 14, 20, 26, 32, ...")
        before = width if first_width is None else first_width
        if shortcut == "A" and before > width:
            raise SettingError(f"network.first_width = {before}: must be at most network.width = {width} with network.shortcut = A")
        blocks = (depth - 2) // 6
        self.stem = nn.Conv2d(channels, before, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(before)
        self.groups = nn.ModuleList()
        for i, after in enumerate((width, 2 * width, 4 * width)):
            first = Block(before, after, 1 if i == 0 else 2, shortcut)
            self.groups.append(nn.Sequential(first, *(Block(after, after, 1, shortcut) for _ in range(blocks - 1))))
            before = after
        self.classifier = nn.Linear(4 * width, classes)
        draw_convolutions(self)

    def begin(self, images: Tensor) -> Tensor:
        """What comes before the first group: float (B, C, H, W) -> (B, first_width, H, W)."""
        return F.relu(self.norm(self.stem(images)))


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is more than the input itself where the shape changes."""

    def __init__(self, before: int, after: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.new_channels = after - before
        self.project = None
        if shortcut == "B" and (stride != 1 or self.new_channels):
            self.project = nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return self.relu(self.norm2(self.conv2(y)) + self._shortcut(x))

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.project is not None:
            return self.project(x)
        if self.stride == 1 and not self.new_channels:
            return x
        first = self.new_channels // 2
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, first, self.new_channels - first))
