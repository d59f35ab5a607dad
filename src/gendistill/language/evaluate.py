"""Streams of text, and the perplexity of a language model on them."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.errors import SettingError
from gendistill.language.trained import logits_of

# What cross_entropy counts as no label.
NO_LABEL = -100


def streams(tokens: Tensor, batch_size: int) -> tuple[Tensor, Tensor]:
    """Cut a text into `batch_size` parts of one length, to be read side by side; what is left at the end is dropped.

    Args:
        tokens: int64, shape (N,).
        batch_size: B.

    Returns:
        What is read, and the next word of each: int64, each of shape (L, B) with L = (N - 1) // B. Column b is the b-th part.

    Raises:
        SettingError: the text is shorter than that.
    """
    length = (len(tokens) - 1) // batch_size
    if length < 1:
        raise SettingError(
            f"recipe.batch_size = {batch_size}: larger than the text, which has {len(tokens)} words. Set a smaller one."
        )
    read, following = tokens[: length * batch_size], tokens[1 : length * batch_size + 1]
    return read.view(batch_size, length).T.contiguous(), following.view(batch_size, length).T.contiguous()


def perplexity(network: nn.Module, precision: str, tokens: Tensor, batch_size: int, unrolled_steps: int) -> float:
    """exp(mean cross-entropy in nats) of each word but the first; leaves the network in eval mode.

    The text is read in `batch_size` parts side by side, each from the zero state, `unrolled_steps` words at a time with the state
    carried over. With a batch size of 1 every word is predicted from all before it.

    Args:
        network: on the device of the tokens.
        precision: of the forward pass.
        tokens: int64, shape (N,).
        batch_size: how many parts.
        unrolled_steps: words of each part in one forward pass; changes the result by rounding only.

    Returns:
        The perplexity; infinity where it is beyond a float.
    """
    network.eval()
    inputs, targets = streams(F.pad(tokens, (0, -(len(tokens) - 1) % batch_size), value=NO_LABEL), batch_size)
    state, total = network.initial_state(batch_size), torch.zeros((), dtype=torch.float64, device=tokens.device)
    for part, labels in zip(inputs.clamp(min=0).split(unrolled_steps), targets.split(unrolled_steps), strict=True):
        logits, state = logits_of(network, precision, part, state)
        total += F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum", ignore_index=NO_LABEL)
    mean = total.item() / (len(tokens) - 1)
    return math.exp(mean) if mean < 700 else math.inf if mean == mean else math.nan
