"""A tiny network as a part of wider ones (Cai et al., Network Augmentation for Tiny Deep Learning, NetAug, 2022)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from gendistill.errors import SettingError
from gendistill.networks.grouped import Grouped
from gendistill.networks.joint import Joint, no_member

MEMBER = "base"


class Augmented(Joint):
    """A network, the member `base`, and extra weights that make the inside of its blocks wider.

    A block's inner channels are those between its first and its last convolution. Of n inner channels become up to
    max(factors) n; the outputs of blocks keep their width. So the base is the first n channels of each wider network, and what
    it computes does not depend on the extra weights.

    In each step one of `factors` is drawn for each block. That pass normalises by the statistics of the batch, and leaves all
    running statistics alone: they are of the base's pass only.

    Args:
        channels: channels of an image.
        classes: number of classes.
        networks: one, which builds the base.
        factors: what a block's inner width may be multiplied with, each at least 1.

    Raises:
        SettingError: there is not one network, or none of its blocks has inner channels.
    """

    def __init__(self, channels: int, classes: int, networks: list[Callable[..., Grouped]], factors: list[float]) -> None:
        super().__init__()
        if len(networks) != 1:
            raise SettingError(f"network.networks: {len(networks)} networks; must be 1, which is made wider")
        self.base = networks[0](channels=channels, classes=classes)
        for module in self.base.modules():
            # The wider weights are there for one forward pass only, not when a backward pass would compute it again.
            if hasattr(module, "recompute"):
                module.recompute = False
        self.factors = factors
        blocks = blocks_with_inner(self.base)
        self.extra = nn.ModuleList(Extra(self.base, path, layers, max(factors)) for path, layers in blocks.items())
        if not self.extra:
            raise SettingError("network.networks: no block of the network has inner channels that could be more")

    def outputs(self, images: Tensor, key: int) -> dict[str, Any]:
        """`logits` of the base, and `augmented_logits` of the wider network of this step, float32 (B, K)."""
        return {"logits": self.base(images).float(), "augmented_logits": self.wider(images, self.draw(key)).float()}

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the base: float (B, C, H, W) -> (B, K)."""
        return self.base(images)

    def member_logits(self, images: Tensor) -> dict[str, Tensor]:
        """Logits of the base: float (B, C, H, W) -> (B, K)."""
        return {MEMBER: self.base(images)}

    def take(self, member: str) -> nn.Module:
        """The base itself.

        Raises:
            SettingError: another member is asked for.
        """
        if member != MEMBER:
            raise no_member(member, [MEMBER])
        return self.base

    def draw(self, key: int) -> list[float]:
        """One of `factors` for each block, each as likely, drawn from `key` alone."""
        # NumPy's raw numbers are the same in every version.
        drawn = np.random.Philox(key=key % 2**128).random_raw(len(self.extra))
        return [self.factors[number % len(self.factors)] for number in drawn.tolist()]

    def wider(self, images: Tensor, factors: list[float]) -> Tensor:
        """Logits of the network with each block's inner width times its factor: float (B, C, H, W) -> (B, K)."""
        weights: dict[str, Tensor] = {}
        changes: list[tuple[nn.Module, str, Any]] = []
        for extra, factor in zip(self.extra, factors, strict=True):
            weights |= extra.weights(self.base, factor)
            changes += extra.parts(self.base, factor)
        norms = [each for each in self.base.modules() if isinstance(each, nn.BatchNorm2d)]
        changes += [(each, name, value) for each in norms for name, value in (("training", True), ("track_running_stats", False))]
        with changed(changes):
            return functional_call(self.base, weights, (images,))


class Extra(nn.Module):
    """The extra weights of one block: drawn as those of a wider block would be, all but the part that the base has.

    Args:
        base: the network.
        block: the block's path in it.
        layers: see `inner_layers`.
        factor: the largest one.
    """

    def __init__(self, base: nn.Module, block: str, layers: dict[str, tuple[bool, bool]], factor: float) -> None:
        super().__init__()
        self.layers = {f"{block}.{name}": widened for name, widened in layers.items()}
        found = [base.get_submodule(path) for path in self.layers]
        self.inner = found[0].out_channels
        # Parts of a convolution must stay equal: channels are added in whole ones.
        self.unit = max([each.in_channels // each.groups for each in found if _in_parts(each)], default=1)
        self.rows, self.columns, self.shifts = nn.ParameterDict(), nn.ParameterDict(), nn.ParameterDict()
        count = self.count(factor)
        for path, (rows, columns) in self.layers.items():
            layer, name = base.get_submodule(path), _name(path)
            if isinstance(layer, nn.BatchNorm2d):
                self.rows[name], self.shifts[name] = nn.Parameter(torch.ones(count)), nn.Parameter(torch.zeros(count))
                continue
            outputs, inputs, *size = layer.weight.shape
            wide = torch.empty(outputs + count * rows, inputs + count * columns, *size)
            nn.init.kaiming_normal_(wide, mode="fan_out", nonlinearity="relu")
            if rows:
                self.rows[name] = nn.Parameter(wide[outputs:].clone())
            if columns:
                self.columns[name] = nn.Parameter(wide[:outputs, inputs:].clone())
            if rows and layer.bias is not None:
                self.shifts[name] = nn.Parameter(torch.zeros(count))

    def count(self, factor: float) -> int:
        """Channels that `factor` adds."""
        return round(self.inner * (factor - 1) / self.unit) * self.unit

    def weights(self, base: nn.Module, factor: float) -> dict[str, Tensor]:
        """The weights of the wider block, by their paths in the base."""
        count, found = self.count(factor), {}
        for path in self.layers:
            layer, name = base.get_submodule(path), _name(path)
            weight = layer.weight
            if name in self.columns:
                weight = torch.cat([weight, self.columns[name][:, :count]], dim=1)
            if name in self.rows:
                rows = self.rows[name][:count]
                weight = torch.cat([weight, rows[:, : weight.shape[1]] if weight.dim() > 1 else rows])
            found[f"{path}.weight"] = weight
            if name in self.shifts:
                found[f"{path}.bias"] = torch.cat([layer.bias, self.shifts[name][:count]])
        return found

    def parts(self, base: nn.Module, factor: float) -> list[tuple[nn.Module, str, Any]]:
        """How many parts a convolution in parts has in the wider block: what `changed` takes."""
        layers = (base.get_submodule(path) for path in self.layers)
        width = self.inner + self.count(factor)
        return [(each, "groups", width * each.groups // self.inner) for each in layers if _in_parts(each)]


def blocks_with_inner(network: Grouped) -> dict[str, dict[str, tuple[bool, bool]]]:
    """The `inner_layers` of each block that has any, by the block's path; blocks inside these belong to them."""
    found: dict[str, dict[str, tuple[bool, bool]]] = {}
    for path, module in network.groups.named_modules(prefix="groups"):
        layers = inner_layers(module)
        if layers and not any(path.startswith(f"{outer}.") for outer in found):
            found[path] = layers
    return found


def inner_layers(block: nn.Module) -> dict[str, tuple[bool, bool]]:
    """The layers between which a block's inner channels lie, by name, and whether these widen their outputs, and their inputs.

    They are its own convolutions and batch norms in the order in which it defines them, from the first convolution, which makes
    the inner channels, to the last, which takes them; and the convolutions of a squeeze-and-excitation between the two. A 1x1
    convolution called `project` beside a `conv2` is a shortcut, and none of them. Empty for any other module.
    """
    children = [(n, child) for n, child in block.named_children() if not (n == "project" and hasattr(block, "conv2"))]
    places = [i for i, (_, child) in enumerate(children) if isinstance(child, nn.Conv2d)]
    while places and _in_parts(children[places[0]][1]):
        del places[0]
    if len(places) < 2:
        return {}
    first, last = places[0], places[-1]
    found = {children[first][0]: (True, False)}
    for name, child in children[first + 1 : last]:
        if isinstance(child, (nn.Conv2d, nn.BatchNorm2d)):
            found[name] = (True, not _in_parts(child))
        inside = [n for n, each in child.named_modules(prefix=name) if isinstance(each, nn.Conv2d) and each is not child]
        if inside:
            found |= {inside[0]: (False, True), inside[-1]: (True, False)}
    found[children[last][0]] = (False, True)
    return found


@contextmanager
def changed(changes: list[tuple[nn.Module, str, Any]]) -> Iterator[None]:
    """Set attributes of modules, (module, name, value) each, for as long as this lasts."""
    before = [(module, name, getattr(module, name)) for module, name, _ in changes]
    try:
        for module, name, value in changes:
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def alone(settings: dict[str, Any], member: str) -> dict[str, Any]:
    """The settings of the base: a plain network.

    Raises:
        SettingError: another member is asked for.
    """
    if member != MEMBER:
        raise no_member(member, [MEMBER])
    return dict(settings["networks"][0])


def _in_parts(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups > 1


def _name(path: str) -> str:
    """A path as a name of a parameter, which may have no dots."""
    return path.replace(".", "_")
