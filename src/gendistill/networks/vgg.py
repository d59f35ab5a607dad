"""VGG with batch norm for small images (Simonyan & Zisserman, Very Deep Convolutional Networks, 2015, Table 1; one linear layer).

As in RepDistiller, between the last two stages there is no pooling, and the three fully connected layers are one linear layer.
"""

import itertools

from torch import Tensor, nn

from gendistill.errors import SettingError
from gendistill.networks.grouped import Grouped, draw_convolutions

CONVOLUTIONS = {8: (1, 1, 1, 1, 1), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class VGG(Grouped):
    """Five stages of 3x3 convolutions with batch norm and ReLU, with width, 2, 4, 8 and 8 width channels, and a linear layer.

    Stages but the first and the last begin with max pooling. The first comes before the groups, which are the other four. Works
    for any image size and number of channels.

    Args:
        channels: channels of an image.
        classes: number of classes.
        depth: 8, 11, 13, 16 or 19: three more than the convolutions, as with three fully connected layers.
        width: channels of the first stage; 64 in the paper.

    Raises:
        SettingError: there is no such depth.
    """

    def __init__(self, channels: int, classes: int, depth: int, width: int = 64) -> None:
        super().__init__()
        if depth not in CONVOLUTIONS:
            raise SettingError(f"network.depth = {depth}: must be one of {', '.join(map(str, CONVOLUTIONS))}")
        widths = (width, 2 * width, 4 * width, 8 * width, 8 * width)
        first, *others = CONVOLUTIONS[depth]
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        self.first = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), *convolutions(width, width, first - 1))
        self.groups = nn.ModuleList()
        for i, (before, after) in enumerate(itertools.pairwise(widths)):
            pooling = [nn.MaxPool2d(2, ceil_mode=True)] if i < 3 else []
            self.groups.append(nn.Sequential(*pooling, *convolutions(before, after, others[i])))
        self.classifier = nn.Linear(widths[-1], classes)
        draw_convolutions(self)

    def begin(self, images: Tensor) -> Tensor:
        """The first stage: float (B, C, H, W) -> (B, width, H, W)."""
        return self.first(self.stem(images))


def convolutions(before: int, after: int, count: int) -> list[nn.Module]:
    """3x3 convolutions, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for i in range(count):
        layers += [nn.Conv2d(before if i == 0 else after, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return layers
