"""Attention transfer (Zagoruyko & Komodakis, Paying More Attention to Attention, 2017, Eqn 2): look where the teacher looks."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gendistill.errors import SettingError
from gendistill.objectives.matching import Shapes


def attention_of(outputs: Tensor) -> Tensor:
    """Q / ||Q||_2 with Q the mean over the channels of the squares: (B, C, H, W) -> (B, H * W), rows of length 1.

    Sum and mean over the channels are the same once divided by the length.
    """
    return F.normalize(outputs.square().mean(dim=1).flatten(1), dim=1)


def check(shapes: Shapes, teacher_shapes: Shapes) -> None:
    """Check that student and teacher have as many maps, of equal resolutions; channels may differ.

    Args:
        shapes: of the student's maps, (C, H, W) each.
        teacher_shapes: of the teacher's.

    Raises:
        SettingError: they differ in the number of maps, or in the resolution of one, or there are none.
    """
    own, other = ([tuple(shape[1:]) for shape in found] for found in (shapes, teacher_shapes))
    if not own or own != other:
        raise SettingError(
            f"network: the outputs of its groups of layers have the resolutions {own}, those of its teacher {other}. Attention "
            "transfer needs at least one group, as many in both, of equal resolutions. Set network or patriarch.network, or "
            "another objective, in the experiment."
        )


def distance(maps: list[Tensor], teacher_maps: list[Tensor]) -> Tensor:
    """The sum over the groups of the mean, over batch and places, of (Q_s / ||Q_s|| - Q_t / ||Q_t||)^2: a scalar.

    Args:
        maps: of each group of layers of the student, float32, shape (B, C, H, W).
        teacher_maps: of the teacher, in the same order; numbers of channels may differ.

    Raises:
        SettingError: see `check`.
    """
    check(*([tuple(map.shape[1:]) for map in found] for found in (maps, teacher_maps)))
    pairs = zip(maps, teacher_maps, strict=True)
    return torch.stack([(attention_of(s) - attention_of(t.detach())).square().mean() for s, t in pairs]).sum()


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
    """label_weight (-mean ln q_y) + beta sum_groups mean_(b, places) (Q_s / ||Q_s||_2 - Q_t / ||Q_t||_2)^2.

    Eqn 2 prints beta / 2 times the norms of the differences; its authors' code, with the same beta = 1000, takes the mean of
    their squares, and the paper says that beta is 1000 divided by the elements of the map and by the batch size: as here.
    The teacher's logits are not used. Shapes as in `gendistill.objectives`.

    Args:
        maps: see `distance`.
        teacher_maps: see `distance`.
        label_weight: the weight of the labels; 1 in the paper.
        beta: the weight of the maps; 1000 in EKD.

    Returns:
        The terms `label` and `attention`.
    """
    return {"label": label_weight * F.cross_entropy(logits, labels), "attention": beta * distance(maps, teacher_maps)}
