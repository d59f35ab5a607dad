"""What all image networks here have in common: a first layer, groups of layers at falling resolution, a linear classifier."""

import torch.nn.functional as F
from torch import Tensor, nn


class Grouped(nn.Module):
    """A network that shows the output of each of its groups.

    A family sets `stem` (its first layer, a convolution), `groups` and `classifier` (its last layer, linear).
    """

    def begin(self, images: Tensor) -> Tensor:
        """What comes before the first group: float (B, C, H, W) -> (B, C_0, H_0, W_0)."""
        return self.stem(images)

    def maps(self, images: Tensor) -> list[Tensor]:
        """The output of each group: float (B, C, H, W) -> one of (B, C_i, H_i, W_i) for each."""
        maps = [self.begin(images)]
        for group in self.groups:
            maps.append(group(maps[-1]))
        return maps[1:]

    def pool(self, last_map: Tensor) -> Tensor:
        """Penultimate features of the last group's output: (B, F, H, W) -> (B, F)."""
        return last_map.mean(dim=(2, 3))

    def features(self, images: Tensor) -> Tensor:
        """Penultimate features: float (B, C, H, W) -> (B, F)."""
        return self.pool(self.maps(images)[-1])

    def forward(self, images: Tensor) -> Tensor:
        """Logits: float (B, C, H, W) -> (B, classes)."""
        return self.classifier(self.features(images))


class PreActivation(Grouped):
    """A network whose groups end before batch norm and ReLU, which `norm` does once, after the last one."""

    def pool(self, last_map: Tensor) -> Tensor:
        """Penultimate features of the last group's output: (B, F, H, W) -> (B, F)."""
        return F.relu(self.norm(last_map)).mean(dim=(2, 3))


def draw_convolutions(network: nn.Module) -> None:
    """Draw the weights of all convolutions (He et al., Delving Deep into Rectifiers, 2015, Eqn 14)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
