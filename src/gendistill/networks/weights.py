"""The weights of a trained network on disk: safetensors that say by themselves how to build the network."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from gendistill.errors import UserError
from gendistill.files import verified, write_bytes

FILE = "model.safetensors"


class Description(Protocol):
    """A dataclass of plain values that can build a network with fresh weights."""

    __dataclass_fields__: dict[str, Any]

    def build(self) -> nn.Module: ...


D = TypeVar("D", bound=Description)


def save_weights(network: nn.Module, description: Description, folder: Path) -> None:
    """Write `model.safetensors`: the weights, and the description as metadata."""
    from safetensors.torch import save

    weights = {name: weight.detach().cpu().contiguous() for name, weight in network.state_dict().items()}
    write_bytes(folder / FILE, save(weights, metadata={"gendistill": json.dumps(asdict(description))}))


def load_weights(folder: Path, kind: type[D]) -> tuple[nn.Module, D]:
    """The trained network of a step's folder, on the CPU, in eval mode and without gradients, and its description.

    Raises:
        UserError: the file is missing, corrupt, or does not fit the network that it names.
    """
    from safetensors import SafetensorError, safe_open

    path = verified(folder / FILE)
    try:
        with safe_open(path, framework="pt") as file:
            description = kind(**json.loads(file.metadata()["gendistill"]))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        # The fresh weights must not take numbers from the generator of the network that learns from this one.
        with torch.random.fork_rng(devices=[]):
            network = description.build()
        network.load_state_dict(weights)
    except (SafetensorError, RuntimeError, KeyError, TypeError) as error:
        raise UserError(f"{path} holds no network of this version of gendistill: {error}") from error
    return network.eval().requires_grad_(False), description
