"""FitNets (Romero et al., FitNets: Hints for Thin Deep Nets, 2015, Algorithm 1): first learn a layer by hints, then distil."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.objectives import ban
from gendistill.objectives.matching import Shapes, check_maps


def check(shapes: Shapes, teacher_shapes: Shapes) -> None:
    """Check that each guided layer has a hint of its resolution.

    Raises:
        SettingError: see `gendistill.objectives.matching.check_maps`.
    """
    check_maps("FitNets", shapes, teacher_shapes)


def parts(shapes: Shapes, teacher_shapes: Shapes, relu: bool) -> nn.ModuleList:
    """The regressors r: for each hint a 1x1 convolution from the student's channels to the teacher's, batch norm, maybe a ReLU.

    Args:
        shapes: of the guided layers' outputs, (C, H, W) each.
        teacher_shapes: of the hints, (C', H, W) each.
        relu: whether they end in a ReLU, as the hints should then, too.
    """
    check(shapes, teacher_shapes)
    regressors = nn.ModuleList()
    for own, other in zip(shapes, teacher_shapes, strict=True):
        # A regressor is used in training only, so it needs no running statistics.
        norm = nn.BatchNorm2d(other[0], track_running_stats=False)
        regressors.append(nn.Sequential(nn.Conv2d(own[0], other[0], 1, bias=False), norm, nn.ReLU() if relu else nn.Identity()))
    return regressors


def hint_distance(maps: list[Tensor], teacher_maps: list[Tensor], regressors: nn.ModuleList) -> Tensor:
    """The sum over the hints of 1/2 mean (u_h - r(v_g))^2, the mean over batch, channels and places: a scalar (FitNets Eqn 3).

    Args:
        maps: v_g, what the guided layers give, float32, shape (B, C, H, W) each.
        teacher_maps: u_h, the hints, float32, shape (B, C', H, W) each.
        regressors: r, see `parts`.
    """
    pairs = zip(maps, teacher_maps, regressors, strict=True)
    return torch.stack([F.mse_loss(regress(own), hint.detach()) / 2 for own, hint, regress in pairs]).sum()


def first_loss(
    logits: Tensor, labels: Tensor, teacher_logits: Tensor, *, maps: list[Tensor], teacher_maps: list[Tensor], parts: nn.ModuleList
) -> dict[str, Tensor]:
    """The first stage of Algorithm 1: `hint_distance`, which reaches the student up to the guided layer, and the regressors."""
    return {"hint": hint_distance(maps, teacher_maps, parts)}


def loss(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor,
    *,
    maps: list[Tensor],
    teacher_maps: list[Tensor],
    parts: nn.ModuleList,
    label_weight: float,
    lambda_: float,
    temperature: float,
    temperature_squared: bool,
    beta: float,
) -> dict[str, Tensor]:
    """The second stage: label_weight (-mean ln q_y) + lambda (-mean sum_k p_k ln q^T_k) + beta x `hint_distance` (FitNets Eqn 2).

    p = softmax(teacher_logits / T), q^T = softmax(logits / T): the second term is that of `gendistill.objectives.ban`. Shapes as in
    `gendistill.objectives`.

    Args:
        maps: see `hint_distance`.
        teacher_maps: see `hint_distance`.
        parts: the regressors.
        label_weight: the weight of the labels; 1 in FitNets.
        lambda_: the weight of the teacher's outputs; falls from 4 to 1 in FitNets.
        temperature: T; 3 in FitNets.
        temperature_squared: whether the teacher's term is multiplied by T^2; not in FitNets.
        beta: the weight of the hints in this stage; 0 in FitNets.

    Returns:
        The terms `label`, `soft` and, for a `beta` above 0, `hint`.
    """
    soft = ban.loss(logits, labels, teacher_logits, temperature=temperature, temperature_squared=temperature_squared)
    terms = {"label": label_weight * F.cross_entropy(logits, labels), "soft": lambda_ * soft}
    if beta:
        terms["hint"] = beta * hint_distance(maps, teacher_maps, parts)
    return terms
