"""What objectives that match features share: vectors of length 1, and a check that maps come in pairs."""

import torch
from torch import Tensor

from gendistill.errors import SettingError

Shapes = list[tuple[int, ...]]


def lengths(vectors: Tensor, dim: int) -> Tensor:
    """||v||_2 along `dim`, which stays with size 1; of a zero vector 0, with gradient 0."""
    squares = vectors.square().sum(dim=dim, keepdim=True)
    zero = squares < torch.finfo(squares.dtype).tiny
    return torch.where(zero, 0.0, torch.where(zero, 1.0, squares).sqrt())


def unit(vectors: Tensor, dim: int) -> Tensor:
    """Each vector v / ||v||_2 along `dim`; of a zero vector 0, with gradient 0."""
    length = lengths(vectors, dim)
    # Not `length > 0`: that would make 0 of NaN, and hide that training diverged.
    return torch.where(length == 0, 0.0, vectors / torch.where(length == 0, 1.0, length))


def check_maps(method: str, shapes: Shapes, teacher_shapes: Shapes) -> None:
    """Check that there are maps, (C, H, W) of one image, as many of student and teacher, of equal resolutions.

    Raises:
        SettingError: there are none, or they differ.
    """
    own, other = ([tuple(shape[1:]) for shape in found] for found in (shapes, teacher_shapes))
    if own and own == other and all(own):
        return
    raise SettingError(
        f"objective.taps: the maps that it names have the resolutions {own} in the student, {other} in its teacher. {method} "
        "needs at least one map, as many of both, of equal resolutions. Set objective.taps, network or patriarch.network, or "
        "another objective, in the experiment."
    )
