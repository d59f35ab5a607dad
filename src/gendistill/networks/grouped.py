"""What all image networks here have in common: a first layer, groups of layers at falling resolution, a linear classifier."""

import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.errors import SettingError

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish)


class Grouped(nn.Module):
    """A network that shows the output of each of its groups.

    A family sets `stem` (its first layer, a convolution), `groups` (in a ModuleList, each called once in a forward pass) and
    `classifier` (its last layer, linear). The last activation of a group is a module of one of ACTIVATIONS that works not in
    place, so that `tap_paths` can name what it is given; activations that come after it in a group are none.
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

    def tap_paths(self, which: str) -> list[str]:
        """Paths of the layers whose outputs `which` names; `PATH:input` stands for what a layer is given.

        Args:
            which: `groups`, the output of each group; `stem_and_groups`, what the first group is given and then these;
                `before_relu`, for each group, the values (B, C_i, H_i, W_i) that its last activation is given.

        Raises:
            SettingError: `which` is none of these.
        """
        groups = [f"groups.{i}" for i in range(len(self.groups))]
        if which == "before_relu":
            return self.before_relu()
        found = {"groups": groups, "stem_and_groups": ["groups.0:input", *groups]}
        if which not in found:
            raise SettingError(f"objective.taps = {which}: must be one of {', '.join(found)}, before_relu, or lists of layers")
        return found[which]

    def before_relu(self) -> list[str]:
        """For each group, the path of what its last activation is given."""
        found = []
        for i, group in enumerate(self.groups):
            *_, last = (name for name, module in group.named_modules() if isinstance(module, ACTIVATIONS))
            found.append(f"groups.{i}.{last}:input")
        return found

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
    """A network whose groups end before batch norm and ReLU, which the next group begins with, and `norm` after the last one."""

    def before_relu(self) -> list[str]:
        """For each group, the path of the batch norm that follows it; ReLU is given what that one returns."""
        found = []
        for i, group in enumerate(self.groups[1:], start=1):
            first = next(name for name, module in group.named_modules() if isinstance(module, nn.BatchNorm2d))
            found.append(f"groups.{i}.{first}")
        return [*found, "norm"]

    def pool(self, last_map: Tensor) -> Tensor:
        """Penultimate features of the last group's output: (B, F, H, W) -> (B, F)."""
        return F.relu(self.norm(last_map)).mean(dim=(2, 3))


def draw_convolutions(network: nn.Module) -> None:
    """Draw the weights of all convolutions (He et al., Delving Deep into Rectifiers, 2015, Eqn 14)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
