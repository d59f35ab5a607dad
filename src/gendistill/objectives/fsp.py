"""FSP (Yim et al., A Gift from Knowledge Distillation, 2017): match the flow of the solution procedure, then learn the labels."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from gendistill.errors import SettingError
from gendistill.objectives.matching import Shapes


def check(shapes: Shapes, teacher_shapes: Shapes) -> None:
    """Check that student and teacher have at least two maps, as many of both, with equal channels; resolutions may differ.

    Raises:
        SettingError: they have not.
    """
    own, other = ([shape[0] for shape in found] for found in (shapes, teacher_shapes))
    if len(own) > 1 and own == other and all(len(shape) == 3 for shape in (*shapes, *teacher_shapes)):
        return
    raise SettingError(
        f"objective.taps: the maps that it names have the channels {own} in the student, {other} in its teacher. FSP needs at "
        "least two maps, as many of both, of equal channels: networks of equal width. Set objective.taps, network or "
        "patriarch.network, or another objective, in the experiment."
    )


def flow(first: Tensor, last: Tensor) -> Tensor:
    """G_ij = 1 / (H W) sum_places F1_i F2_j (FSP Eqn 1): (B, C, H, W) and (B, C', H', W') -> (B, C, C').

    The map of the higher resolution is brought to the lower one by max pooling.
    """
    size = [min(first.shape[i], last.shape[i]) for i in (2, 3)]
    a, b = (_pooled(map, size) for map in (first, last))
    return a @ b.mT / a.shape[2]


def _pooled(map: Tensor, size: list[int]) -> Tensor:
    """Max pooling to h x w, its places as one dimension: (B, C, H, W) -> (B, C, h w)."""
    if list(map.shape[2:]) == size:
        return map.flatten(2)
    # The backward pass of the pooling itself is not deterministic on a GPU; that of a choice of places is.
    _, places = F.adaptive_max_pool2d(map.detach(), size, return_indices=True)
    return map.flatten(2).gather(2, places.flatten(2))


def flow_distance(maps: list[Tensor], teacher_maps: list[Tensor]) -> Tensor:
    """The sum over maps that follow one another of mean (G_T - G_S)^2, over batch and elements: a scalar (FSP Eqn 2).

    Args:
        maps: of the student, float32, shape (B, C_i, H_i, W_i) each.
        teacher_maps: of the teacher, with the same numbers of channels.
    """
    flows, teacher_flows = ([flow(*pair) for pair in pairwise(found)] for found in (maps, teacher_maps))
    pairs = zip(flows, teacher_flows, strict=True)
    return torch.stack([F.mse_loss(own, other.detach()) for own, other in pairs]).sum()


def first_loss(
    logits: Tensor, labels: Tensor, teacher_logits: Tensor, *, maps: list[Tensor], teacher_maps: list[Tensor]
) -> dict[str, Tensor]:
    """The first stage: `flow_distance`, which reaches all of the student but its classifier."""
    return {"flow": flow_distance(maps, teacher_maps)}


def loss(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor,
    *,
    maps: list[Tensor],
    teacher_maps: list[Tensor],
    label_weight: float,
    beta: float,
) -> dict[str, Tensor]:
    """The second stage: label_weight (-mean ln q_y) + beta x `flow_distance`.

    The teacher's logits are not used. Shapes as in `gendistill.objectives`.

    Args:
        maps: see `flow_distance`.
        teacher_maps: see `flow_distance`.
        label_weight: the weight of the labels; 1 in FSP.
        beta: the weight of the flow in this stage; 0 in FSP.

    Returns:
        The terms `label` and, for a `beta` above 0, `flow`.
    """
    terms = {"label": label_weight * F.cross_entropy(logits, labels)}
    if beta:
        terms["flow"] = beta * flow_distance(maps, teacher_maps)
    return terms
