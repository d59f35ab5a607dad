"""Knowledge distillation as in EKD (Cho & Hariharan, On the Efficacy of Knowledge Distillation, 2019), after Hinton et al."""

import torch.nn.functional as F
from torch import Tensor

from gendistill.objectives import ban


def loss(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor,
    *,
    alpha: float,
    alpha_weighs: str,
    temperature: float,
    temperature_squared: bool,
) -> Tensor:
    """L = alpha L_cls + (1 - alpha) L_KD, with L_cls = -mean ln q_y and L_KD = -T^2 mean sum_k p_k ln q^T_k.

    p = softmax(teacher_logits / T), q^T = softmax(logits / T): L_KD is that of `gendistill.objectives.ban`. Shapes as in
    `gendistill.objectives`.

    Args:
        alpha: the weight of one term; 0.9 in EKD.
        alpha_weighs: `label`, as EKD prints, or `teacher`, which swaps the weights of the two terms.
        temperature: T; 4 in EKD.
        temperature_squared: whether the factor T^2 is there, as EKD prints.
    """
    label_weight = alpha if alpha_weighs == "label" else 1 - alpha
    soft = ban.loss(logits, labels, teacher_logits, temperature=temperature, temperature_squared=temperature_squared)
    return label_weight * F.cross_entropy(logits, labels) + (1 - label_weight) * soft
