"""Weights matched through a linear map: the lecture's L2 on intermediate weights, shown with FitNets (Romero et al., 2015)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.errors import SettingError
from gendistill.objectives.matching import Shapes


def check(shapes: Shapes, teacher_shapes: Shapes) -> None:
    """Check that the weights are those of layers of one kind, with equal kernels.

    Args:
        shapes: of the student's weights, (out, in, ...) each; what follows is the kernel: (h, w), or nothing for a linear layer.
        teacher_shapes: of the teacher's.

    Raises:
        SettingError: there are none, they differ in number or kernel, or one is no matrix (a norm's weight).
    """
    own, other = ([tuple(shape[2:]) for shape in found] for found in (shapes, teacher_shapes))
    if own and own == other and all(len(shape) >= 2 for shape in (*shapes, *teacher_shapes)):
        return
    raise SettingError(
        f"objective.taps: the weights that it names have the shapes {shapes} in the student, {teacher_shapes} in its teacher. At "
        "least one layer is needed, as many in both, convolutions of equal kernels or linear layers. Set objective.taps, network "
        "or patriarch.network in the experiment."
    )


def parts(shapes: Shapes, teacher_shapes: Shapes) -> nn.ModuleList:
    """For each weight the matrices A (out' x out) and B (in' x in), which begin as the identity, filled up with zeros.

    Args:
        shapes: of the student's weights, (out, in, ...) each.
        teacher_shapes: of the teacher's, (out', in', ...) each.
    """
    check(shapes, teacher_shapes)
    maps = nn.ModuleList()
    for own, other in zip(shapes, teacher_shapes, strict=True):
        ends = {name: nn.Linear(own[i], other[i], bias=False) for i, name in enumerate(("outputs", "inputs"))}
        for linear in ends.values():
            nn.init.eye_(linear.weight)
        maps.append(nn.ModuleDict(ends))
    return maps


def mapped(weight: Tensor, ends: nn.ModuleDict) -> Tensor:
    """A W B^T at each place of the kernel: (out, in, ...) -> (out', in', ...)."""
    return ends["outputs"](ends["inputs"](weight.movedim(1, -1)).movedim(0, -1)).movedim(-1, 0).movedim(-1, 1)


def weight_distance(weights: list[Tensor], teacher_weights: list[Tensor], maps: nn.ModuleList) -> Tensor:
    """The sum over the layers of ||W_T - A W_S B^T||^2 / ||W_T||^2: a scalar, the share of the teacher's weights that is left.

    Args:
        weights: W_S, of the student's layers, float32, shape (out, in, ...) each.
        teacher_weights: W_T, of the teacher's, float32, shape (out', in', ...) each.
        maps: A and B, see `parts`.
    """
    shares = []
    for own, other, ends in zip(weights, teacher_weights, maps, strict=True):
        other = other.detach()
        size = other.square().sum().clamp_min(torch.finfo(other.dtype).tiny)
        shares.append((other - mapped(own, ends)).square().sum() / size)
    return torch.stack(shares).sum()


def loss(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor,
    *,
    weights: list[Tensor],
    teacher_weights: list[Tensor],
    parts: nn.ModuleList,
    label_weight: float,
    beta: float,
) -> dict[str, Tensor]:
    """label_weight (-mean ln q_y) + beta sum_layers ||W_T - A W_S B^T||^2 / ||W_T||^2.

    The teacher's logits are not used. Shapes as in `gendistill.objectives`.

    Args:
        weights: see `weight_distance`.
        teacher_weights: see `weight_distance`.
        parts: see there.
        label_weight: the weight of the labels.
        beta: the weight of the weights' distance.

    Returns:
        The terms `label` and `weights`.
    """
    distance = weight_distance(weights, teacher_weights, parts)
    return {"label": label_weight * F.cross_entropy(logits, labels), "weights": beta * distance}
