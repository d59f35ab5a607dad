"""Factor transfer (Kim et al., Paraphrasing Complex Network: Network Compression via Factor Transfer, 2018)."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.objectives.matching import Shapes, check_maps, unit


def check(shapes: Shapes, teacher_shapes: Shapes) -> None:
    """Check that each map of the student has one of the teacher with its resolution; channels may differ.

    Raises:
        SettingError: see `gendistill.objectives.matching.check_maps`.
    """
    check_maps("Factor transfer", shapes, teacher_shapes)


def parts(shapes: Shapes, teacher_shapes: Shapes, rate: float) -> nn.ModuleList:
    """For each map the paraphraser, as `encoder` and `decoder`, and the student's `translator`.

    Encoder and translator are three 3x3 convolutions, the decoder three transposed ones, batch norm and a leaky ReLU of slope 0.1
    after each. The factors have rate x C' channels, at least 1.

    Args:
        shapes: of the student's maps, (C, H, W) each.
        teacher_shapes: of the teacher's, (C', H, W) each.
        rate: the paraphrase rate k; 0.5 in the paper.
    """
    check(shapes, teacher_shapes)
    built = nn.ModuleList()
    for own, other in zip(shapes, teacher_shapes, strict=True):
        factors = max(1, round(rate * other[0]))
        built.append(
            nn.ModuleDict(
                {
                    "encoder": _layers(nn.Conv2d, (other[0], other[0], factors, factors)),
                    "decoder": _layers(nn.ConvTranspose2d, (factors, factors, other[0], other[0])),
                    "translator": _layers(nn.Conv2d, (own[0], own[0], factors, factors)),
                }
            )
        )
    return built


def _layers(kind: type[nn.Module], channels: tuple[int, ...]) -> nn.Sequential:
    layers = []
    for before, after in pairwise(channels):
        # The statistics are always those of the batch: what is thrown away after training needs no running ones.
        norm = nn.BatchNorm2d(after, track_running_stats=False)
        layers += [kind(before, after, 3, padding=1, bias=False), norm, nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers)


def first_loss(
    logits: Tensor, labels: Tensor, teacher_logits: Tensor, *, teacher_maps: list[Tensor], parts: nn.ModuleList
) -> dict[str, Tensor]:
    """The sum over the maps of mean (x - decoder(encoder(x)))^2, over batch, channels and places: it reaches the paraphraser only.

    Neither the labels nor the student are used. Shapes as in `loss`.
    """
    pairs = zip(parts, teacher_maps, strict=True)
    errors = [F.mse_loss(part["decoder"](part["encoder"](map.detach())), map.detach()) for part, map in pairs]
    return {"reconstruction": torch.stack(errors).sum()}


def factor_distance(factors: Tensor, teacher_factors: Tensor, p: int) -> Tensor:
    """|F_T / ||F_T||_2 - F_S / ||F_S||_2|^p, the mean over batch and elements, the factors of an image as one vector: a scalar.

    Args:
        factors: of the student, float32, shape (B, M, H, W).
        teacher_factors: of the teacher, of the same shape.
        p: 1 or 2.
    """
    difference = unit(teacher_factors.flatten(1), dim=1) - unit(factors.flatten(1), dim=1)
    return difference.abs().mean() if p == 1 else difference.square().mean()


def loss(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor,
    *,
    maps: list[Tensor],
    teacher_maps: list[Tensor],
    parts: nn.ModuleList,
    label_weight: float,
    beta: float,
    p: int,
) -> dict[str, Tensor]:
    """label_weight (-mean ln q_y) + beta sum_maps `factor_distance` (the paper's section 3).

    F_T = encoder(teacher's map), whose weights stay as the first stage left them, and F_S = translator(student's map). The
    teacher's logits are not used. Shapes as in `gendistill.objectives`.

    Args:
        maps: of the student, float32, shape (B, C, H, W) each.
        teacher_maps: of the teacher, float32, shape (B, C', H, W) each.
        parts: see there.
        label_weight: the weight of the labels; 1 in the paper.
        beta: the weight of the factors; 500 in the authors' code.
        p: see `factor_distance`; 1 in the authors' code.

    Returns:
        The terms `label` and `factor`.
    """
    distances = []
    for own, other, part in zip(maps, teacher_maps, parts, strict=True):
        with torch.no_grad():
            target = part["encoder"](other)
        distances.append(factor_distance(part["translator"](own), target, p))
    return {"label": label_weight * F.cross_entropy(logits, labels), "factor": beta * torch.stack(distances).sum()}
