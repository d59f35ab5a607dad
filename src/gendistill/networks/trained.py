"""A trained network on disk, and what it says of images."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gendistill.networks.folded import folded
from gendistill.networks.weights import load_weights, save_weights
from gendistill.precision import REFERENCE, autocast, layout
from gendistill.targets import instantiate


@dataclass(frozen=True)
class Description:
    """What it takes to build a network and to feed it.

    Attributes:
        network: the settings of the network group.
        shape: channels, height and width of the images it was trained on.
        classes: number of classes.
        mean, std: of each channel of the training images, in units of pixel values (0 to 255).
        precision: of the forward pass, as set in the recipe.
    """

    network: dict[str, Any]
    shape: list[int]
    classes: int
    mean: list[float]
    std: list[float]
    precision: str

    def build(self) -> nn.Module:
        """A network with fresh weights, drawn from PyTorch's global generator."""
        return instantiate(self.network)(channels=self.shape[0], classes=self.classes)

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W) -> float32 with mean 0 and standard deviation 1 per channel."""
        mean, std = (_on(images.device, tuple(values)) for values in (self.mean, self.std))
        return ((images.float() - mean) / std).contiguous(memory_format=layout(self.precision))


@functools.cache
def _on(device: torch.device, values: tuple[float, ...]) -> Tensor:
    """Numbers for each channel, (C, 1, 1), put on the device once: each copy to a GPU makes it wait."""
    with torch.inference_mode(False):
        return torch.tensor(values, device=device)[:, None, None]


def save_network(network: nn.Module, description: Description, folder: Path) -> None:
    """Write `model.safetensors`: the weights, and the description as metadata."""
    save_weights(network, description, folder)


def load_network(folder: Path, device: torch.device) -> tuple[nn.Module, Description]:
    """The trained network of a step's folder, in eval mode and without gradients.

    Raises:
        UserError: the file is missing, corrupt, or does not fit the network that it names.
    """
    network, description = load_weights(folder, Description)
    return network.to(device, memory_format=layout(description.precision)), description


def load_teacher(folder: Path, device: torch.device) -> tuple[nn.Module, Description]:
    """The trained network of a step's folder, as `load_network` gives it, to be asked for logits only: see `folded`.

    Raises:
        UserError: as `load_network` does.
    """
    network, description = load_network(folder, device)
    if description.precision == REFERENCE:
        return network, description
    return folded(network, torch.zeros(2, *description.shape, device=device)), description


@torch.inference_mode()
def logits_of(network: nn.Module, description: Description, images: Tensor) -> Tensor:
    """Logits of a batch: uint8 (B, C, H, W) -> float32 (B, K). The network should be in eval mode."""
    with autocast(description.precision, images.device):
        return network(description.normalise(images)).float()


@torch.inference_mode()
def features_of(network: nn.Module, description: Description, images: Tensor) -> Tensor:
    """Penultimate features of a batch: uint8 (B, C, H, W) -> float32 (B, F)."""
    with autocast(description.precision, images.device):
        return network.features(description.normalise(images)).float()


def in_batches(function: Any, images: Tensor, device: torch.device, batch_size: int = 200) -> Tensor:
    """`function` of all images, batch by batch on `device`; the results together on the CPU."""
    return torch.cat([function(batch.to(device)).cpu() for batch in images.split(batch_size)])
