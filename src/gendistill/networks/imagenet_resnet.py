"""ResNet for large images (He et al., Deep Residual Learning for Image Recognition, 2016, Table 1), of torchvision's blocks.

torchvision's bottlenecks have the stride in the 3x3 convolution (in the paper, in the first 1x1 convolution).
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.data.torchvision_import import import_torchvision
from gendistill.errors import SettingError
from gendistill.networks.grouped import Grouped, draw_convolutions

BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class ImageNetResNet(Grouped):
    """A 7x7 convolution and max pooling, each with stride 2, four groups of blocks, average pooling, a linear layer.

    Works for any image size and number of channels, but divides the resolution by 32.

    Args:
        channels: channels of an image.
        classes: number of classes.
        width: channels of the first group's 3x3 convolutions; 64 in the paper.
        depth: 18 or 34, with two 3x3 convolutions a block; 50, 101 or 152, with bottlenecks; 10, one block a group, for trials.

    Raises:
        SettingError: there is no such depth.
    """

    def __init__(self, channels: int, classes: int, depth: int, width: int = 64) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise SettingError(f"network.depth = {depth}: must be one of {', '.join(map(str, BLOCKS))}")
        resnet = import_torchvision().models.resnet
        block = resnet.Bottleneck if depth >= 50 else resnet.BasicBlock
        self.stem = nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(width)
        before, groups = width, []
        for i, blocks in enumerate(BLOCKS[depth]):
            after, stride = width * 2**i, 1 if i == 0 else 2
            groups.append(_group(block, before, after, blocks, stride))
            before = after * block.expansion
        self.groups = nn.ModuleList(groups)
        self.classifier = nn.Linear(before, classes)
        draw_convolutions(self)

    def begin(self, images: Tensor) -> Tensor:
        """What comes before the first group: float (B, C, H, W) -> (B, width, H / 4, W / 4)."""
        return F.max_pool2d(F.relu(self.norm(self.stem(images))), 3, stride=2, padding=1)


def _group(block: Any, before: int, after: int, blocks: int, stride: int) -> nn.Sequential:
    """Blocks of one width; the first changes the number of channels, and the resolution by `stride`."""
    project = None
    if stride != 1 or before != after * block.expansion:
        convolution = nn.Conv2d(before, after * block.expansion, 1, stride=stride, bias=False)
        project = nn.Sequential(convolution, nn.BatchNorm2d(after * block.expansion))
    rest = (block(after * block.expansion, after) for _ in range(1, blocks))
    return nn.Sequential(block(before, after, stride, project), *rest)
