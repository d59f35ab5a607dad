"""ResNet for large images (He et al., Deep Residual Learning for Image Recognition, 2016, Table 1), built by torchvision.

torchvision's bottlenecks have the stride in the 3x3 convolution (in the paper, in the first 1x1 convolution).
"""

import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.data.torchvision_import import import_torchvision
from gendistill.errors import SettingError

BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class ImageNetResNet(nn.Module):
    """A 7x7 convolution and max pooling, each with stride 2, four groups of blocks, average pooling, a linear layer.

    Works for any image size and number of channels, but divides the resolution by 32.

    Args:
        channels: channels of an image.
        classes: number of classes.
        depth: 18 or 34, with two 3x3 convolutions a block; 50, 101 or 152, with bottlenecks; 10, one block a group, for trials.

    Raises:
        SettingError: there is no such depth.
    """

    def __init__(self, channels: int, classes: int, depth: int) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise SettingError(f"network.depth = {depth}: must be one of {', '.join(map(str, BLOCKS))}")
        resnet = import_torchvision().models.resnet
        built = resnet.ResNet(resnet.Bottleneck if depth >= 50 else resnet.BasicBlock, list(BLOCKS[depth]), num_classes=classes)
        self.stem = built.conv1
        if channels != 3:
            self.stem = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(self.stem.weight, mode="fan_out", nonlinearity="relu")
        self.norm = built.bn1
        self.groups = nn.ModuleList([built.layer1, built.layer2, built.layer3, built.layer4])
        self.classifier = built.fc

    def maps(self, images: Tensor) -> list[Tensor]:
        """The output of each group: float (B, C, H, W) -> four of (B, C_i, H_i, W_i), 4, 8, 16 and 32 times smaller."""
        maps = [F.max_pool2d(F.relu(self.norm(self.stem(images))), 3, stride=2, padding=1)]
        for group in self.groups:
            maps.append(group(maps[-1]))
        return maps[1:]

    def pool(self, last_map: Tensor) -> Tensor:
        """Penultimate features of the last group's output: (B, F, H, W) -> (B, F)."""
        return last_map.mean(dim=(2, 3))

    def features(self, images: Tensor) -> Tensor:
        """Penultimate features: float (B, C, H, W) -> (B, F), F being 512, or 2048 with bottlenecks."""
        return self.pool(self.maps(images)[-1])

    def forward(self, images: Tensor) -> Tensor:
        """Logits: float (B, C, H, W) -> (B, classes)."""
        return self.classifier(self.features(images))
