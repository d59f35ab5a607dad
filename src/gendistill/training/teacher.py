"""Where a student's soft labels come from: the store of its outputs, or the teacher itself."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gendistill.networks.taps import forward_with_taps
from gendistill.networks.trained import Description, logits_of
from gendistill.precision import autocast
from gendistill.softlabels.store import open_store
from gendistill.training.replay import Replayed

# (positions of the images and view numbers, on the CPU; views and labels, on the device)
#     -> the teacher's logits, float32, shape (B, K); what its tapped layers put out, by path; the gradient by its input, or None
Teacher = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, dict[str, Tensor], Tensor | None]]


def stored_teacher(folder: Path, shape: tuple[int, int, int], device: torch.device, drawn: Callable[[], np.ndarray]) -> Teacher:
    """Look the logits up in the store, which holds them for every view that the student draws.

    Args:
        folder: of the soft-labels step.
        shape: images, views of each, and classes.
        device: where the student trains.
        drawn: gives the views that the student draws, bool (images, views); asked for if the store has not all of them.
    """
    logits, rows = (None if array is None else torch.from_numpy(array) for array in open_store(folder, shape, drawn))

    def look_up(images: Tensor, views: Tensor, pixels: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor], None]:
        found = logits[images * shape[1] + views if rows is None else rows[images, views].long()]
        # From pinned memory the copy does not make the GPU wait.
        found = found.pin_memory() if device.type == "cuda" else found
        return found.to(device, non_blocking=True).float(), {}, None

    return look_up


def online_teacher(network: nn.Module, description: Description, paths: list[str], gradient: bool, replayed: int = 0) -> Teacher:
    """Compute the logits anew; rounded to float16 like those of the store, so that both give the same student.

    Args:
        network: in eval mode, without gradients: its statistics stay untouched.
        description: of the network.
        paths: the layers whose outputs are wanted too.
        gradient: whether the gradient of the cross-entropy by the input is wanted too.
        replayed: how many images those batches have whose kernels are replayed, see `training.replay`; 0: none are.
    """

    def compute(pixels: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor | None]:
        seen: dict[str, Tensor] = {}
        if paths:
            # What inference mode makes can't be kept for a backward pass.
            with torch.no_grad(), autocast(description.precision, pixels.device):
                logits, seen = forward_with_taps(network, description.normalise(pixels), paths)
        else:
            logits = logits_of(network, description, pixels)
        found = None
        if gradient:
            with autocast(description.precision, pixels.device):
                found = gradient_by_input(network, description.normalise(pixels), labels)
        return logits.float().half().float(), seen, found

    computed = Replayed(compute, replayed) if replayed else compute
    return lambda images, views, pixels, labels: computed(pixels, labels)


def gradient_by_input(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The gradient of the sum of the cross-entropies by the normalised images: float32 (B, C, H, W)."""
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        loss = nn.functional.cross_entropy(network(images).float(), labels, reduction="sum")
        return torch.autograd.grad(loss, images)[0].float()
