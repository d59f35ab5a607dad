"""RKD (Park et al., Relational Knowledge Distillation, 2019): match how samples lie to one another, by distances and angles."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gendistill.objectives.matching import lengths, unit


def differences(features: Tensor) -> Tensor:
    """e_ij = x_i - x_j of all pairs: (B, F) -> (B, B, F)."""
    return features[:, None] - features[None]


def distances(pairs: Tensor) -> Tensor:
    """psi_D = ||x_i - x_j||_2 / mu, mu the mean over the pairs i != j (RKD, section 3.2.1): (B, B, F) -> (B, B)."""
    found = lengths(pairs, dim=2).squeeze(2)
    count = len(found) * (len(found) - 1)
    mean = found.sum() / max(count, 1)
    # All samples may be equal, or there may be only one.
    return found / torch.where(mean == 0, 1.0, mean)


def cosines(pairs: Tensor) -> Tensor:
    """psi_A = cos of the angle at x_i between x_j and x_k (RKD, section 3.2.2): (B, B, F) -> (B, B, B); 0 if two are equal."""
    directions = unit(pairs, dim=2)
    return directions @ directions.mT


def loss(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor,
    *,
    features: Tensor,
    teacher_features: Tensor,
    label_weight: float,
    distance_weight: float,
    angle_weight: float,
) -> dict[str, Tensor]:
    """label_weight (-mean ln q_y) + distance_weight mean_ij h(psi_D - psi_D') + angle_weight mean_ijk h(psi_A - psi_A').

    h is Huber's loss with delta = 1: x^2 / 2 up to 1, |x| - 1/2 beyond. The means are over all B^2 pairs and B^3 triples, as in the
    authors' code; those with equal samples are 0. The relations are those of a batch, so its size matters, and a micro-batch is a
    batch. The teacher's logits are not used. Shapes as in `gendistill.objectives`.

    Args:
        features: of the student, float32, shape (B, F).
        teacher_features: of the teacher, float32, shape (B, F').
        label_weight: the weight of the labels; 1 in RKD.
        distance_weight: lambda_RKD-D; 25 in RKD.
        angle_weight: lambda_RKD-A; 50 in RKD.

    Returns:
        The terms `label`, `distance` and `angle`.
    """
    own, other = differences(features), differences(teacher_features.detach())
    return {
        "label": label_weight * F.cross_entropy(logits, labels),
        "distance": distance_weight * F.smooth_l1_loss(distances(own), distances(other)),
        "angle": angle_weight * F.smooth_l1_loss(cosines(own), cosines(other)),
    }
