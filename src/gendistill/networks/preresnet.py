"""Pre-activation ResNet of depth 9n+2 (He et al., Identity Mappings in Deep Residual Networks, 2016, Table 2 and appendix)."""

import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.errors import SettingError
from gendistill.networks.grouped import PreActivation, draw_convolutions

EXPANSION = 4


class PreResNet(PreActivation):
    """A 3x3 convolution, three groups of n bottlenecks with 4, 8 and 16 width channels, batch norm, pooling, a linear layer.

    Works for any image size and number of channels.

    Args:
        channels: channels of an image.
        classes: number of classes.
        depth: 9n + 2.
        width: channels of the first convolution, and inside the bottlenecks of the first group; 16 in the paper.

    Raises:
        SettingError: `depth` is not 9n + 2.
    """

    def __init__(self, channels: int, classes: int, depth: int, width: int = 16) -> None:
        super().__init__()
        if depth < 11 or (depth - 2) % 9:
            raise SettingError(f"network.depth = {depth}: must be 9n+2 with n of at least 1: 11, 20, 29, ..., 164, ..., 1001")
        blocks = (depth - 2) // 9
        self.stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        before = width
        self.groups = nn.ModuleList()
        for i, inner in enumerate((width, 2 * width, 4 * width)):
            after = EXPANSION * inner
            layers = [Bottleneck(before, inner, after, 1 if i == 0 else 2)]
            layers += [Bottleneck(after, inner, after) for _ in range(blocks - 1)]
            self.groups.append(nn.Sequential(*layers))
            before = after
        self.norm = nn.BatchNorm2d(before)
        self.classifier = nn.Linear(before, classes)
        draw_convolutions(self)


class Bottleneck(nn.Module):
    """Batch norm and ReLU before a 1x1, a 3x3 and a 1x1 convolution; a 1x1 convolution as shortcut where the shape changes."""

    def __init__(self, before: int, inner: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, inner, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, after, 1, bias=False)
        changes = before != after or stride != 1
        self.project = nn.Conv2d(before, after, 1, stride=stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(x))
        shortcut = x if self.project is None else self.project(y)
        y = self.conv2(F.relu(self.norm2(self.conv1(y))))
        return self.conv3(F.relu(self.norm3(y))) + shortcut
