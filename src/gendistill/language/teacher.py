"""Where a student's soft labels come from: the store, or the teacher itself reading along."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.files import verified
from gendistill.language.trained import Description, State, load_language_model, logits_of

STORE = "softlabels.npy"

# (position in the streams, tokens (T, B), the teacher's state or None at the start of a text)
#     -> the teacher's logits, float32, shape (T * B, V), and its state after them
Teacher = Callable[[int, Tensor, State | None], tuple[Tensor, State | None]]


def stored_teacher(folder: Path, shape: tuple[int, int, int], device: torch.device) -> Teacher:
    """Read the logits from the store, one after the other.

    Args:
        folder: of the soft-labels step.
        shape: words of a stream, streams and vocabulary that the store must have.
        device: where the student trains.

    Raises:
        UserError: the store is missing, corrupt, or of another shape.
    """
    path = verified(folder / STORE)
    # Copy-on-write: PyTorch wants a writable array, and nothing is ever written.
    array = np.load(path, mmap_mode="c", allow_pickle=False)
    if array.shape != shape or array.dtype != np.float16:
        raise UserError(
            f"{path}: must be float16 of shape (words, streams, vocabulary) = {shape}, is {array.dtype} of {array.shape}"
        )
    store = torch.from_numpy(array)

    def look_up(start: int, tokens: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        return store[start : start + len(tokens)].to(device).float().flatten(0, 1), None

    return look_up


def online_teacher(folder: Path, vocabulary: list[str], device: torch.device) -> Teacher:
    """Compute the logits anew; rounded to float16 like those of the store, so that both give the same student.

    Raises:
        UserError: the teacher is missing or corrupt, or has another vocabulary.
    """
    network, description = load_teacher(folder, vocabulary, device)

    def compute(start: int, tokens: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        logits, state = logits_of(network, description.precision, tokens, state or network.initial_state(tokens.shape[1]))
        return logits.half().float().flatten(0, 1), state

    return compute


def load_teacher(folder: Path, vocabulary: list[str], device: torch.device) -> tuple[nn.Module, Description]:
    """A trained language model, once it is known to have the student's vocabulary.

    Raises:
        UserError: it is missing or corrupt, or has another vocabulary.
    """
    network, description = load_language_model(folder, device)
    if description.vocabulary != vocabulary:
        raise UserError(f"{folder}: has another vocabulary than the text, so it cannot be its teacher.")
    return network, description
