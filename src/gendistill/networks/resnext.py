"""CIFAR ResNeXt of depth 9n+2 (Xie et al., Aggregated Residual Transformations for Deep Neural Networks, 2017, section 5.3)."""

import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.errors import SettingError
from gendistill.networks.grouped import Grouped, draw_convolutions
from gendistill.networks.imagenet_resnet import EXPANSION, Bottleneck


class ResNeXt(Grouped):
    """A 3x3 convolution, three groups of n bottlenecks with 4, 8 and 16 width channels, average pooling, a linear layer.

    The 3x3 convolutions inside have cardinality x base_width channels in the first group, twice and four times as many in the
    others, in `cardinality` parts. Works for any image size and number of channels.

    Args:
        channels: channels of an image.
        classes: number of classes.
        depth: 9n + 2.
        cardinality: parts of each 3x3 convolution.
        base_width: channels of each part in the first group.
        width: channels of the first convolution; 64 in the paper.

    Raises:
        SettingError: `depth` is not 9n + 2.
    """

    def __init__(self, channels: int, classes: int, depth: int, cardinality: int, base_width: int, width: int = 64) -> None:
        super().__init__()
        if depth < 11 or (depth - 2) % 9:
            raise SettingError(f"network.depth = {depth}: must be 9n+2 with n of at least 1: 11, 20, 29, ...")
        blocks = (depth - 2) // 9
        self.stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.groups = nn.ModuleList()
        before = width
        for i in range(3):
            inner, after = cardinality * base_width * 2**i, EXPANSION * width * 2**i
            layers = [Bottleneck(before, inner, after, 1 if i == 0 else 2, cardinality)]
            layers += [Bottleneck(after, inner, after, 1, cardinality) for _ in range(blocks - 1)]
            self.groups.append(nn.Sequential(*layers))
            before = after
        self.classifier = nn.Linear(before, classes)
        draw_convolutions(self)

    def begin(self, images: Tensor) -> Tensor:
        """What comes before the first group: float (B, C, H, W) -> (B, width, H, W)."""
        return F.relu(self.norm(self.stem(images)))
