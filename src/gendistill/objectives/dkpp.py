"""DKPP (Furlanello et al., Born-Again Neural Networks, 2018, Eqn 11): the teacher's outputs, permuted but for the top one."""

import torch
import torch.nn.functional as F
from torch import Tensor

# The constants of SplitMix64 (Steele et al., Fast Splittable Pseudorandom Number Generators, 2014).
STEP = 0x9E3779B97F4A7C15
FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def loss(
    logits: Tensor, labels: Tensor, teacher_logits: Tensor, *, images: Tensor, epoch: int, key: int, permutation: str
) -> Tensor:
    """-mean sum_k r_k ln q_k with q = softmax(logits) and r the permuted softmax(teacher_logits).

    The permutation leaves the largest output in its place, and is uniformly random among all that do. It depends on key,
    image and, for `draw`, epoch only: not on the batch, nor on the device. The labels are not used. Shapes as in
    `gendistill.objectives`.

    Args:
        images: positions of the images in the training set, int64, shape (B,).
        epoch: from 0.
        key: of 128 bits.
        permutation: `image` (one for each image, the same in all epochs) or `draw` (a new one in each epoch).
    """
    draw = epoch + 1 if permutation == "draw" else 0
    target = permute_all_but_top(F.softmax(teacher_logits.detach(), dim=1), images, draw, key)
    return F.cross_entropy(logits, target)


def permute_all_but_top(outputs: Tensor, images: Tensor, draw: int, key: int) -> Tensor:
    """Each row of `outputs`, (B, K), with its largest value in place and the other values in random order."""
    classes = torch.arange(outputs.shape[1], device=outputs.device)
    order = random_numbers(key, images, draw, len(classes)).argsort(dim=1, stable=True)
    top = outputs.argmax(dim=1, keepdim=True)
    # The top class changes places with the one that came to its place: what is left is uniform among the orders that keep it.
    order = torch.where(order == top, order.gather(1, top), order)
    order = torch.where(classes == top, top, order)
    return outputs.gather(1, order)


def random_numbers(key: int, images: Tensor, draw: int, count: int) -> Tensor:
    """Numbers 1 to `count` of a counter-based generator for each image and draw: int64, all 64 bits random, (B, count).

    With M the finaliser of SplitMix64 and G its step, modulo 2^64: the state of an image is
    s = M(M(low half of key + G image) + high half of key + G draw), and its number k is M(s + G k).
    """
    state = _mix(images * _signed(STEP) + _signed(key))
    state = _mix(state + _signed((key >> 64) + STEP * draw))
    counter = torch.arange(1, count + 1, device=images.device)
    return _mix(state[:, None] + counter * _signed(STEP))


def _mix(x: Tensor) -> Tensor:
    """A bijection of 64 bits that spreads every bit over all; int64 products wrap around."""
    x = (x ^ _shift(x, 30)) * _signed(FACTORS[0])
    x = (x ^ _shift(x, 27)) * _signed(FACTORS[1])
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Shift right, filling with zeros; that of int64 fills with the sign."""
    return (x >> bits) & (2 ** (64 - bits) - 1)


def _signed(number: int) -> int:
    """The int64 with the lowest 64 bits of `number`."""
    return (number + 2**63) % 2**64 - 2**63
