"""Where a student's soft labels come from: the store of its outputs, or the teacher itself."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gendistill.networks.trained import Description, logits_and_maps_of, logits_of
from gendistill.softlabels.store import open_store

# (positions of the images and view numbers, on the CPU; uint8 views, on the device)
#     -> the teacher's logits, float32, shape (B, K), and the maps of its groups, float32, shape (B, C, H, W) each, or none
Teacher = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, list[Tensor]]]


def stored_teacher(folder: Path, shape: tuple[int, int, int], device: torch.device, drawn: Callable[[], np.ndarray]) -> Teacher:
    """Look the logits up in the store, which holds them for every view that the student draws.

    Args:
        folder: of the soft-labels step.
        shape: images, views of each, and classes.
        device: where the student trains.
        drawn: gives the views that the student draws, bool (images, views); asked for if the store has not all of them.
    """
    logits, rows = (None if array is None else torch.from_numpy(array) for array in open_store(folder, shape, drawn))

    def look_up(images: Tensor, views: Tensor, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        found = logits[images * shape[1] + views if rows is None else rows[images, views].long()]
        # From pinned memory the copy does not make the GPU wait.
        found = found.pin_memory() if device.type == "cuda" else found
        return found.to(device, non_blocking=True).float(), []

    return look_up


def online_teacher(network: nn.Module, description: Description, with_maps: bool) -> Teacher:
    """Compute the logits anew; rounded to float16 like those of the store, so that both give the same student.

    Args:
        network: in eval mode, without gradients: its statistics stay untouched.
        description: of the network.
        with_maps: whether the maps of its groups are wanted too.
    """

    def compute(images: Tensor, views: Tensor, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        if with_maps:
            logits, maps = logits_and_maps_of(network, description, pixels)
        else:
            logits, maps = logits_of(network, description, pixels), []
        return logits.half().float(), maps

    return compute
