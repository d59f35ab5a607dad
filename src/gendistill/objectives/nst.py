"""NST (Huang & Wang, Like What You Like: Knowledge Distill via Neuron Selectivity Transfer, 2017): match where neurons respond."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gendistill.objectives.matching import Shapes, check_maps, unit


def check(shapes: Shapes, teacher_shapes: Shapes) -> None:
    """Check that each map of the student has one of the teacher with its resolution; channels may differ.

    Raises:
        SettingError: see `gendistill.objectives.matching.check_maps`.
    """
    check_maps("NST", shapes, teacher_shapes)


def mmd_squared(own: Tensor, other: Tensor, kernel: str) -> Tensor:
    """The squared maximum mean discrepancy between the channels of two maps, as samples: the mean over the batch.

    mean_(i,i') k(t_i, t_i') + mean_(j,j') k(s_j, s_j') - 2 mean_(i,j) k(t_i, s_j), with t_i and s_j the channels of one image as
    vectors of length 1 over the places (0 if a channel is 0 everywhere). The kernels k(x, y): `linear` x.y, `polynomial` (x.y)^2,
    `gaussian` exp(-||x - y||^2 / (2 sigma^2)) with sigma^2 the mean of ||t_i - s_j||^2 of the image, taken as a constant.

    Args:
        own: of the student, float32, shape (B, C, H, W).
        other: of the teacher, float32, shape (B, C', H, W).
        kernel: `linear`, `polynomial` or `gaussian`.
    """
    s, t = unit(own.flatten(2), dim=2), unit(other.detach().flatten(2), dim=2)
    # Products of channels only, (B, C, C'): the vectors themselves, one for each pair, would not fit into memory.
    products = {"ss": s @ s.mT, "tt": t @ t.mT, "st": s @ t.mT}
    if kernel == "gaussian":
        values = _gaussian(products)
    else:
        values = {pair: product.square() if kernel == "polynomial" else product for pair, product in products.items()}
    means = {pair: value.mean(dim=(1, 2)) for pair, value in values.items()}
    return (means["tt"] + means["ss"] - 2 * means["st"]).mean()


def _gaussian(products: dict[str, Tensor]) -> dict[str, Tensor]:
    squares = {"s": products["ss"].diagonal(dim1=1, dim2=2), "t": products["tt"].diagonal(dim1=1, dim2=2)}
    distances = {pair: squares[pair[0]][:, :, None] + squares[pair[1]][:, None] - 2 * product for pair, product in products.items()}
    variance = distances["st"].detach().mean(dim=(1, 2), keepdim=True)
    # Of equal channels all distances are 0, or as small as rounding makes them.
    variance = variance.clamp_min(torch.finfo(variance.dtype).eps)
    return {pair: torch.exp(-distance / (2 * variance)) for pair, distance in distances.items()}


def loss(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor,
    *,
    maps: list[Tensor],
    teacher_maps: list[Tensor],
    label_weight: float,
    lambda_: float,
    kernel: str,
) -> dict[str, Tensor]:
    """label_weight (-mean ln q_y) + lambda / 2 sum_maps `mmd_squared`.

    The teacher's logits are not used. Shapes as in `gendistill.objectives`.

    Args:
        maps: of the student, float32, shape (B, C, H, W) each.
        teacher_maps: of the teacher, float32, shape (B, C', H, W) each, in the same order.
        label_weight: the weight of the labels; 1 in NST.
        lambda_: twice the weight of the maps.
        kernel: see `mmd_squared`.

    Returns:
        The terms `label` and `selectivity`.
    """
    pairs = zip(maps, teacher_maps, strict=True)
    distance = torch.stack([mmd_squared(own, other, kernel) for own, other in pairs]).sum()
    return {"label": label_weight * F.cross_entropy(logits, labels), "selectivity": lambda_ / 2 * distance}
