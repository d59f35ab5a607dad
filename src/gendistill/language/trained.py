"""A trained language model on disk: safetensors weights that say by themselves how to build the network."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.files import verified, write_bytes
from gendistill.precision import autocast
from gendistill.targets import instantiate

FILE = "model.safetensors"
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
    from safetensors.torch import save

    weights = {name: weight.detach().cpu().contiguous() for name, weight in network.state_dict().items()}
    write_bytes(folder / FILE, save(weights, metadata={"gendistill": json.dumps(asdict(description))}))


def load_language_model(folder: Path, device: torch.device) -> tuple[nn.Module, Description]:
    """The trained network of a step's folder, in eval mode and without gradients.

    Raises:
        UserError: the file is missing, corrupt, or does not fit the network that it names.
    """
    from safetensors import SafetensorError, safe_open

    path = verified(folder / FILE)
    try:
        with safe_open(path, framework="pt") as file:
            description = Description(**json.loads(file.metadata()["gendistill"]))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        # The fresh weights must not take numbers from the generator of the network that learns from this one.
        with torch.random.fork_rng(devices=[]):
            network = description.build()
        network.load_state_dict(weights)
    except (SafetensorError, RuntimeError, KeyError, TypeError) as error:
        raise UserError(f"{path} holds no language model of this version of gendistill: {error}") from error
    return network.to(device).eval().requires_grad_(False), description


@torch.inference_mode()
def logits_of(network: nn.Module, precision: str, tokens: Tensor, state: State) -> tuple[Tensor, State]:
    """Logits of each next word, and the state: int64 (T, B) -> float32 (T, B, V). The network should be in eval mode."""
    with autocast(precision, tokens.device):
        return network(tokens, state)
