"""What a network costs: operations, kernels, bytes and parameters, counted without computing anything."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gendistill.networks.joint import Joint
from gendistill.targets import instantiate


def build_on_meta(settings: dict[str, Any], **size: int) -> nn.Module:
    """The network of `settings` without memory for its weights; `size` is what its class takes besides (channels, classes)."""
    with torch.device("meta"):
        return instantiate(settings)(**size)


class Whole(nn.Module):
    """All that several networks compute that are trained together."""

    def __init__(self, joint: Joint) -> None:
        super().__init__()
        self.joint = joint

    def forward(self, images: Tensor) -> Tensor:
        """All outputs of a training step side by side: (B, C, H, W) -> (B, numbers)."""
        outputs = self.joint.outputs(images, 0).values()
        tensors = [each for output in outputs for each in (output if isinstance(output, list) else [output])]
        return torch.cat([tensor.flatten(1).float() for tensor in tensors], dim=1)


def whole(network: nn.Module) -> nn.Module:
    """What is to be counted of the training of a network: of a joint one, all that it computes."""
    return Whole(network) if isinstance(network, Joint) else network


def forward_flops(network: nn.Module, *inputs: Any) -> int:
    """Floating-point operations of one forward pass on meta tensors: two for each multiplication and addition.

    Counts matrix products and convolutions, which are nearly all of a network's work.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(*inputs)
    return counter.get_total_flops()


def image_flops(settings: dict[str, Any], shape: Sequence[int], classes: int) -> int:
    """Floating-point operations of one forward pass over one image of shape (C, H, W)."""
    network = build_on_meta(settings, channels=shape[0], classes=classes)
    return forward_flops(network, torch.zeros(1, *shape, device="meta"))


def training_flops(network: nn.Module, images: Tensor) -> int:
    """Floating-point operations of one forward and backward pass over meta images, (B, C, H, W), in training mode."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        _gradients(network, images)
    return counter.get_total_flops()


def kept_bytes(network: nn.Module, images: Tensor) -> list[int]:
    """Bytes of each array that autograd keeps from a forward pass over meta images, (B, C, H, W), for the backward pass.

    Arrays that several operations keep count once, weights and statistics of the network not at all. Float32 is assumed.
    """
    kept: dict[int, Tensor] = {}
    own = {_array(tensor) for tensor in (*network.parameters(), *network.buffers())}

    def keep(tensor: Tensor) -> Tensor:
        kept[_array(tensor)] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        # While the output lives, so do the arrays, and no two have the same number.
        output = network.train()(images)
        sizes = [tensor.untyped_storage().nbytes() for array, tensor in kept.items() if array not in own]
    del output
    return sizes


def kernels(network: nn.Module, images: Tensor) -> tuple[int, int]:
    """Operations that compute something: of a forward pass in evaluation mode, and of forward and backward passes in training."""
    with _Operations() as forward, torch.no_grad():
        network.eval()(images)
    with _Operations() as training:
        _gradients(network, images)
    return forward.count, training.count


def _gradients(network: nn.Module, images: Tensor) -> None:
    logits = network.train()(images)
    labels = torch.zeros(len(images), dtype=torch.long, device=images.device)
    torch.autograd.grad(nn.functional.cross_entropy(logits, labels), [p for p in network.parameters() if p.requires_grad])


def _array(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


class _Operations(TorchDispatchMode):
    """Counts operations; views of an array, which compute nothing, are none."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        shares = (value.alias_info for value in function._schema.returns)
        self.count += not any(info is not None and not info.is_write for info in shares)
        return function(*args, **(kwargs or {}))
