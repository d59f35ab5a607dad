"""What the layers of a network put out, or are given, for objectives that match more than logits."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from gendistill.errors import SettingError

# Ends a path that means what the layer is given, not what it puts out.
INPUT = ":input"
FEATURES = f"classifier{INPUT}"


def tap_paths(network: nn.Module, taps: str | dict[str, list[str]], of: str) -> list[str]:
    """The paths of the layers that the setting `taps` of an objective means.

    Args:
        network: whose layers they are.
        taps: `groups`, `stem_and_groups`, `before_relu`, or paths such as `groups.-1` for `student` and for `teacher`.
        of: `student` or `teacher`.

    Raises:
        SettingError: the network has no such layer.
    """
    paths = network.tap_paths(taps) if isinstance(taps, str) else taps[of]
    for path in paths:
        layer_at(network, path)
    return paths


def layer_at(network: nn.Module, path: str) -> nn.Module:
    """The layer at a path; parts of it count from the end where they are negative.

    Raises:
        SettingError: there is none.
    """
    layer = network
    for part in path.removesuffix(INPUT).split("."):
        try:
            layer = layer[int(part)] if part.lstrip("-").isdigit() else getattr(layer, part)
        except (AttributeError, IndexError, TypeError):
            layer = None
        if not isinstance(layer, nn.Module):
            names = ", ".join(name for name, _ in network.named_children())
            raise SettingError(
                f"objective.taps: {path}: the network {type(network).__name__} has no layer {part} there. Its first layers are "
                f"{names}; a path is such as groups.-1 or groups.0.1.conv2{INPUT}. Set it in the objective of the experiment."
            )
    return layer


def forward_with_taps(network: nn.Module, images: Tensor, paths: Iterable[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits (B, K) of normalised images, and by its path what each tapped layer puts out, or is given, in the same pass."""
    seen: dict[str, Tensor] = {}

    def listen(path: str) -> Any:
        layer = layer_at(network, path)
        if path.endswith(INPUT):
            # A layer that works in place would change what was seen.
            copies = getattr(layer, "inplace", False)
            return layer.register_forward_pre_hook(
                lambda _, given: seen.__setitem__(path, given[0].clone() if copies else given[0])
            )
        return layer.register_forward_hook(lambda _, given, found: seen.__setitem__(path, found))

    hooks = [listen(path) for path in dict.fromkeys(paths)]
    try:
        return network(images), seen
    finally:
        for hook in hooks:
            hook.remove()
