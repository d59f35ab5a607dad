"""Where a student's soft labels come from: the store of all views, or the teacher itself."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from gendistill.networks.trained import load_network, logits_of
from gendistill.softlabels.store import open_store

# (positions of the images, view numbers, uint8 views) -> teacher's logits, float32, shape (B, K)
Teacher = Callable[[Tensor, Tensor, Tensor], Tensor]


def stored_teacher(folder: Path, shape: tuple[int, int, int], device: torch.device) -> Teacher:
    """Look the logits up in the store, which holds them for every view of every image.

    Args:
        folder: of the soft-labels step.
        shape: images, views and classes that the store must have.
        device: where the student trains.
    """
    store = torch.from_numpy(open_store(folder, shape))

    def look_up(images: Tensor, views: Tensor, pixels: Tensor) -> Tensor:
        return store[images.cpu(), views.cpu()].to(device).float()

    return look_up


def online_teacher(folder: Path, device: torch.device) -> Teacher:
    """Compute the logits anew; rounded to float16 like those of the store, so that both give the same student."""
    network, description = load_network(folder, device)

    def compute(images: Tensor, views: Tensor, pixels: Tensor) -> Tensor:
        return logits_of(network, description, pixels).half().float()

    return compute
