"""Steps of training as CUDA graphs: a GPU is told once what to do, and then only to do it again.

The step of a small network is hundreds of kernels of some microseconds, each of which takes longer to launch than to run.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gendistill.batches import micro_batch_size
from gendistill.errors import SettingError
from gendistill.networks.joint import Joint
from gendistill.precision import REFERENCE
from gendistill.training.descent import is_fused
from gendistill.training.objective import Objective

# Calls that run as usual first, in which libraries choose kernels and set themselves up, and momenta are made.
USUAL = 3
# What an objective may need that changes from step to step and is no tensor.
CHANGING = {"epoch", "key"}


class Replayed:
    """A function whose kernels are recorded once, and then launched all at once: the same kernels on the same memory.

    Calls with other numbers of images, such as the last batch of an epoch, run as usual.

    Args:
        function: of tensors, of which the first, or the first tensor in it, has one row for each image. It may change tensors in
            place, its own or those of an object; all else that it reads must stay as it is. It must not wait for the GPU.
        images: of the calls that are recorded.

    What a call returns is written over by the next one.
    """

    def __init__(self, function: Callable[..., Any], images: int) -> None:
        self.function, self.images = function, images
        self.calls = 0
        self.given: Any = None
        self.found: Any = None
        self.again: Callable[[], None] | None = None

    def __call__(self, *given: Any) -> Any:
        whole = len(next(_tensors(given))) == self.images
        self.calls += whole
        if not whole or self.calls <= USUAL:
            return self.function(*given)
        if self.again is None:
            self.given = copy.deepcopy(given)
            self.found, self.again = record(lambda: self.function(*self.given))
            return self.found
        for mine, new in zip(_tensors(self.given), _tensors(given), strict=True):
            mine.copy_(new)
        self.again()
        return self.found


def why_not(
    network: nn.Module, objective: Objective, recipe: dict[str, Any], images: int, processes: int, device: torch.device
) -> str:
    """Why steps of a training can't be replayed; empty if they can.

    Args:
        network: that learns.
        objective: as the settings say.
        recipe: the settings of the recipe group.
        images: that it is trained on.
        processes: that train together.
        device: of the training.
    """
    reasons = {
        "it does not train on a GPU": not can_record(device),
        "batches are divided": processes > 1 or micro_batch_size(recipe, processes) < recipe["batch_size"],
        "an epoch has no whole batch": images < recipe["batch_size"],
        f"recipe.precision = {REFERENCE} does without": not is_fused(recipe),
        "recipe.mixup mixes by another share in each step": bool(recipe.get("mixup")),
        "several networks are trained together": isinstance(network, Joint),
        "the objective asks for the epoch or a key": bool(objective.needs & CHANGING),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def can_record(device: torch.device) -> bool:
    """Whether a device has graphs."""
    return device.type == "cuda"


def record(function: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
    """Run a function on the GPU once.

    Returns:
        What it returns, and what runs its kernels again.

    Raises:
        SettingError: it does what can't be recorded, such as to wait for the GPU.
    """
    graph = torch.cuda.CUDAGraph()
    try:
        # Other threads may go on, such as those that decode images.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            found = function()
    except RuntimeError as error:
        cause: BaseException = error
        while cause.__context__ is not None:
            # The end of a recording that has failed raises an error of its own.
            cause = cause.__context__
        if isinstance(cause, torch.OutOfMemoryError):
            raise cause from None
        raise SettingError(
            f"runtime.cuda_graphs = true: a step of this training cannot be recorded ({' '.join(str(cause).split())}). "
            "Set runtime.cuda_graphs to false: results are the same."
        ) from error
    # Nothing has run so far.
    graph.replay()
    return found, graph.replay


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _tensors(each)
