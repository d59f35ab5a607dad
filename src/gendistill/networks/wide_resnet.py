"""Wide-ResNet of depth 6n+4 (Zagoruyko & Komodakis, Wide Residual Networks, 2016, Table 1 and section 2.4)."""

import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.errors import SettingError
from gendistill.networks.grouped import PreActivation, draw_convolutions


class WideResNet(PreActivation):
    """A 3x3 convolution, three groups of n blocks with 1, 2 and 4 times base x width channels, batch norm, pooling, a linear layer.

    Works for any image size and number of channels.

    Args:
        channels: channels of an image.
        classes: number of classes.
        depth: 6n + 4.
        width: the widening factor k.
        dropout: share of the values between the two convolutions of a block that training sets to zero.
        base: channels of the first convolution; 16 in the paper.

    Raises:
        SettingError: `depth` is not 6n + 4.
    """

    def __init__(self, channels: int, classes: int, depth: int, width: int, dropout: float = 0.0, base: int = 16) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise SettingError(f"network.depth = {depth}: must be 6n+4 with n of at least 1: 10, 16, 22, 28, 34, 40, ...")
        blocks = (depth - 4) // 6
        self.stem = nn.Conv2d(channels, base, 3, padding=1, bias=False)
        before = base
        self.groups = nn.ModuleList()
        for i, after in enumerate((base * width, 2 * base * width, 4 * base * width)):
            layers = [WideBlock(before, after, 1 if i == 0 else 2, dropout)]
            layers += [WideBlock(after, after, 1, dropout) for _ in range(blocks - 1)]
            self.groups.append(nn.Sequential(*layers))
            before = after
        self.norm = nn.BatchNorm2d(before)
        self.classifier = nn.Linear(before, classes)
        draw_convolutions(self)


class WideBlock(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convolutions; a 1x1 convolution as shortcut where the shape changes."""

    def __init__(self, before: int, after: int, stride: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.dropout = dropout
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        changes = before != after or stride != 1
        self.project = nn.Conv2d(before, after, 1, stride=stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(x))
        shortcut = x if self.project is None else self.project(y)
        y = F.relu(self.norm2(self.conv1(y)))
        y = F.dropout(y, self.dropout, self.training)
        return self.conv2(y) + shortcut
