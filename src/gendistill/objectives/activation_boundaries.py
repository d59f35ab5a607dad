"""Activation boundaries (Heo et al., Knowledge Transfer via Distillation of Activation Boundaries, 2019)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.objectives import ban
from gendistill.objectives.matching import Shapes, check_maps

# The authors' code multiplies by 3 / 1000, at rates of 0.1.
SCALE = 0.003


def check(shapes: Shapes, teacher_shapes: Shapes) -> None:
    """Check that each map of the student has one of the teacher with its resolution; channels may differ.

    Raises:
        SettingError: see `gendistill.objectives.matching.check_maps`.
    """
    check_maps("The transfer of activation boundaries", shapes, teacher_shapes)


def parts(shapes: Shapes, teacher_shapes: Shapes) -> nn.ModuleList:
    """The connectors r: for each map a 1x1 convolution from the student's channels to the teacher's, and batch norm.

    Args:
        shapes: of the student's maps, (C, H, W) each.
        teacher_shapes: of the teacher's, (C', H, W) each.
    """
    check(shapes, teacher_shapes)
    connectors = nn.ModuleList()
    for own, other in zip(shapes, teacher_shapes, strict=True):
        convolution = nn.Conv2d(own[0], other[0], 1, bias=False)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        # A connector is used in training only, so it needs no running statistics.
        connectors.append(nn.Sequential(convolution, nn.BatchNorm2d(other[0], track_running_stats=False)))
    return connectors


def hinge(own: Tensor, other: Tensor, margin: float) -> Tensor:
    """||rho(t) relu(mu - s) + (1 - rho(t)) relu(mu + s)||^2, the sum over the elements, over the batch size: a scalar.

    rho(t) is 1 where t > 0, else 0. An element costs nothing once it is on the teacher's side of 0 by the margin.

    Args:
        own: s, the connected values of the student before a ReLU, float32, shape (B, C', H, W).
        other: t, those of the teacher, of the same shape.
        margin: mu.
    """
    sign = torch.where(other.detach() > 0, 1.0, -1.0)
    return F.relu(margin - sign * own).square().sum() / len(own)


def boundary_distance(maps: list[Tensor], teacher_maps: list[Tensor], connectors: nn.ModuleList, margin: float) -> Tensor:
    """3/1000 sum_i 2^(i - G) `hinge`(r_i(s_i), t_i) over the maps i = 1 to G, the last of which has the weight 1: a scalar.

    Args:
        maps: s_i, the student's values before the last ReLU of each group, float32, shape (B, C, H, W) each.
        teacher_maps: t_i, the teacher's, float32, shape (B, C', H, W) each.
        connectors: r_i, see `parts`.
        margin: mu.
    """
    pairs = zip(maps, teacher_maps, connectors, strict=True)
    costs = [hinge(connect(own), other, margin) for own, other, connect in pairs]
    return SCALE * torch.stack([cost * 2.0 ** (i + 1 - len(costs)) for i, cost in enumerate(costs)]).sum()


def first_loss(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor,
    *,
    maps: list[Tensor],
    teacher_maps: list[Tensor],
    parts: nn.ModuleList,
    margin: float,
) -> dict[str, Tensor]:
    """The initialisation: `boundary_distance`, which reaches all of the student but its classifier, and the connectors."""
    return {"boundaries": boundary_distance(maps, teacher_maps, parts, margin)}


def loss(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor,
    *,
    maps: list[Tensor],
    teacher_maps: list[Tensor],
    parts: nn.ModuleList,
    margin: float,
    label_weight: float,
    lambda_: float,
    temperature: float,
    temperature_squared: bool,
    beta: float,
) -> dict[str, Tensor]:
    """label_weight (-mean ln q_y) + lambda (-T^2 mean sum_k p_k ln q^T_k) + beta x `boundary_distance`.

    p = softmax(teacher_logits / T), q^T = softmax(logits / T): the second term is that of `gendistill.objectives.ban`. Shapes as in
    `gendistill.objectives`.

    Args:
        maps: see `boundary_distance`.
        teacher_maps: see `boundary_distance`.
        parts: the connectors.
        margin: mu; 1 in the authors' code.
        label_weight: the weight of the labels; 0 in the authors' code.
        lambda_: the weight of the teacher's outputs; 1 in the authors' code.
        temperature: T; 3 in the authors' code.
        temperature_squared: whether the factor T^2 is there; not in the authors' code.
        beta: the weight of the boundaries in this stage; 0 in the authors' code.

    Returns:
        The terms `label`, `soft` and, for a `beta` above 0, `boundaries`.
    """
    soft = ban.loss(logits, labels, teacher_logits, temperature=temperature, temperature_squared=temperature_squared)
    terms = {"label": label_weight * F.cross_entropy(logits, labels), "soft": lambda_ * soft}
    if beta:
        terms["boundaries"] = beta * boundary_distance(maps, teacher_maps, parts, margin)
    return terms
