"""A trained language model on disk: safetensors weights that say by themselves how to build the network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gendistill.networks.weights import load_weights, save_weights
from gendistill.precision import autocast
from gendistill.targets import instantiate

# What a network carries over from one stretch of text to the next: tensors of any shape.
State = tuple[Tensor, ...]


@dataclass(frozen=True)
class Description:
    """What it takes to build a language model and to feed it.

    Attributes:
        network: the settings of the network group.
        vocabulary: the words in order of their numbers.
        precision: of the forward pass, as set in the recipe.
    """

    network: dict[str, Any]
    vocabulary: list[str]
    precision: str

    def build(self) -> nn.Module:
        """A network with fresh weights, drawn from PyTorch's global generator."""
        return instantiate(self.network)(vocabulary=self.vocabulary)


def save_language_model(network: nn.Module, description: Description, folder: Path) -> None:
    """Write `model.safetensors`: the weights, and the description as metadata."""
    save_weights(network, description, folder)


def load_language_model(folder: Path, device: torch.device) -> tuple[nn.Module, Description]:
    """The trained network of a step's folder, in eval mode and without gradients.

    Raises:
        UserError: the file is missing, corrupt, or does not fit the network that it names.
    """
    network, description = load_weights(folder, Description)
    return network.to(device), description


@torch.inference_mode()
def logits_of(network: nn.Module, precision: str, tokens: Tensor, state: State) -> tuple[Tensor, State]:
    """Logits of each next word, and the state: int64 (T, B) -> float32 (T, B, V). The network should be in eval mode."""
    with autocast(precision, tokens.device):
        return network(tokens, state)
