"""A network with a classifier after each group (Zhang et al., Be Your Own Teacher, 2019)."""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.errors import SettingError
from gendistill.networks.grouped import Grouped, PreActivation, draw_convolutions
from gendistill.networks.joint import Joint, position
from gendistill.networks.split import keep_first, map_shapes

# By how much narrower than its output the inside of a bottleneck is; the usual one of bottlenecks (He et al., 2016).
NARROWER = 4
ENSEMBLE = "ensemble"


class MultiExit(Joint):
    """A network of N groups with exits 1 to N - 1 after the first groups; exit N is the network's own end.

    Members: `exitN`, the main one, which is the plain network; `exit1` and so on, networks that end there; and `ensemble`, the
    mean of the probabilities of all exits.

    Args:
        channels: channels of an image.
        classes: number of classes.
        networks: one, which builds the network.
        answer: what `forward` gives: the logits of the `deepest` exit, or those of the `ensemble`.

    Raises:
        SettingError: there is not one network, or the resolution of a group is not 1, 2, 4, ... times that of the last one.
    """

    def __init__(self, channels: int, classes: int, networks: list[Callable[..., Grouped]], answer: str = "deepest") -> None:
        super().__init__()
        if len(networks) != 1:
            raise SettingError(f"network.networks: {len(networks)} networks; exits need 1, which has them")
        self.answer, self.channels = answer, channels
        self.network = networks[0](channels=channels, classes=classes)
        *shapes, (_, last_size) = map_shapes(self.network, channels)[1:]
        features = self.network.classifier.in_features
        self.exits = nn.ModuleList(Exit(width, features, _halvings(size, last_size), classes) for width, size in shapes)

    def outputs(self, images: Tensor, key: int) -> dict[str, Any]:
        """`logits` of the answer; `exit_logits`, (B, K), and `exit_features`, (B, F), of exits 1 to N: lists of float32."""
        logits, features = self._exits(images)
        return {"logits": self._answer(logits), "exit_logits": logits, "exit_features": features}

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the answer: float (B, C, H, W) -> (B, K)."""
        return self.network(images) if self.answer == "deepest" else self._answer(self._exits(images)[0])

    def member_logits(self, images: Tensor) -> dict[str, Tensor]:
        """Logits of each exit, the deepest first, and of `ensemble`: float (B, C, H, W) -> (B, K) each."""
        logits, _ = self._exits(images)
        numbered = {f"exit{number}": each for number, each in enumerate(logits, start=1)}
        return {f"exit{len(logits)}": logits[-1], **numbered, ENSEMBLE: mean_of_probabilities(logits)}

    def take(self, member: str) -> nn.Module:
        """`exitN`: the network itself; another exit: a copy that ends there; `ensemble`: all of this, with another answer.

        Raises:
            SettingError: there is no such member.
        """
        if member == ENSEMBLE:
            whole = copy.copy(self)
            whole.answer = ENSEMBLE
            return whole
        place = position(member, "exit", len(self.exits) + 1)
        if place == len(self.exits):
            return self.network
        return copy.deepcopy(self).end_at(place + 1)

    def end_at(self, exit: int) -> "EarlyExit":
        """The network that ends at an exit before the last, `exit` from 1, made of layers of this one, which is left incomplete."""
        return EarlyExit(keep_first(self.network, exit, self.channels), self.exits[exit - 1])

    def _answer(self, logits: list[Tensor]) -> Tensor:
        return logits[-1] if self.answer == "deepest" else mean_of_probabilities(logits)

    def _exits(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Logits, float32 (B, K), and features, float32 (B, F), of exits 1 to N."""
        *maps, last = self.network.maps(images)
        features = [exit.features(each) for exit, each in zip(self.exits, maps, strict=True)] + [self.network.pool(last)]
        classifiers = [*(exit.classifier for exit in self.exits), self.network.classifier]
        logits = [classify(each).float() for classify, each in zip(classifiers, features, strict=True)]
        return logits, [each.float() for each in features]


class Exit(nn.Module):
    """A bottleneck that brings a group's output to the features of the last one, and a linear classifier of these.

    A 1x1 convolution to a quarter of the features, a 3x3 convolution with stride 2 for each halving of the resolution (one
    without stride if there is none), a 1x1 convolution to all features, each with batch norm and ReLU; then average pooling.
    """

    def __init__(self, width: int, features: int, halvings: int, classes: int) -> None:
        super().__init__()
        inner = max(1, features // NARROWER)
        layers = _convolution(width, inner, 1, 1)
        for stride in [2] * halvings or [1]:
            layers += _convolution(inner, inner, 3, stride)
        self.bottleneck = nn.Sequential(*layers, *_convolution(inner, features, 1, 1))
        self.classifier = nn.Linear(features, classes)
        draw_convolutions(self)

    def features(self, group_output: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, F)."""
        return self.bottleneck(group_output).mean(dim=(2, 3))


class EarlyExit(Grouped):
    """The first groups of a network, and the exit after them.

    Args:
        network: with no more layers than these groups and what comes before them.
        exit: see `Exit`.
    """

    def __init__(self, network: Grouped, exit: Exit) -> None:
        super().__init__()
        self.network, self.exit = network, exit

    @property
    def stem(self) -> nn.Module:
        """The network's first layer."""
        return self.network.stem

    @property
    def groups(self) -> nn.ModuleList:
        """The network's first groups."""
        return self.network.groups

    @property
    def classifier(self) -> nn.Module:
        """The exit's linear layer."""
        return self.exit.classifier

    def before_relu(self) -> list[str]:
        """For each group, the path of what its last activation is given.

        Raises:
            SettingError: a group's last activation was left behind with the group after it.
        """
        if isinstance(self.network, PreActivation):
            raise SettingError(
                f"objective.taps = before_relu: an early exit of {type(self.network).__name__} ends before an activation that "
                "belongs to the next group. Set network.takes to the deepest exit, or taps to lists of layers, in the experiment."
            )
        return super().before_relu()

    def begin(self, images: Tensor) -> Tensor:
        """What comes before the first group, as in the network: float (B, C, H, W) -> (B, C_0, H_0, W_0)."""
        return self.network.begin(images)

    def pool(self, last_map: Tensor) -> Tensor:
        """Features of the exit: (B, C, H, W) -> (B, F)."""
        return self.exit.features(last_map)


def early_exit(channels: int, classes: int, networks: list[Callable[..., Grouped]], exit: int) -> EarlyExit:
    """The network that ends at an exit before the last, `exit` from 1, with fresh weights."""
    # Not `take`, which copies: fake tensors, on which costs are counted, cannot be copied.
    return MultiExit(channels, classes, networks).end_at(exit)


def alone(settings: dict[str, Any], member: str) -> dict[str, Any]:
    """The settings of an exit or of the ensemble; how many exits there are is told by the network's `reductions`.

    Raises:
        SettingError: there is no such member.
    """
    if member == ENSEMBLE:
        return {**settings, "answer": ENSEMBLE}
    network = settings["networks"][0]
    count = len(network["reductions"])
    number = position(member, "exit", count) + 1
    if number == count:
        return dict(network)
    return {
        "name": f"{settings['name']}_{member}",
        "_target_": f"{__name__}.early_exit",
        "networks": settings["networks"],
        "exit": number,
        "reductions": network["reductions"][:number],
    }


def mean_of_probabilities(logits: list[Tensor]) -> Tensor:
    """Logits of the mean of the probabilities, ln mean_i softmax(z_i): (B, K) each -> (B, K)."""
    return torch.stack([F.log_softmax(each.float(), dim=1) for each in logits]).logsumexp(dim=0) - math.log(len(logits))


def _convolution(before: int, after: int, size: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(before, after, size, stride=stride, padding=size // 2, bias=False)
    return [convolution, nn.BatchNorm2d(after), nn.ReLU()]


def _halvings(size: int, last_size: int) -> int:
    """How often a convolution with stride 2 brings images that are `size` high to `last_size`."""
    halvings = max(0, round(math.log2(size / last_size)))
    if last_size << halvings != size:
        ratio = f"{size / last_size:g} times as high as the last one's"
        raise SettingError(f"network.networks: a group's output is {ratio}; for exits it must be 1, 2, 4, 8, ... times")
    return halvings
