"""BAN+L (Furlanello et al., Born-Again Neural Networks, 2018, Table 2): learn from the labels and from the teacher's outputs."""

import torch.nn.functional as F
from torch import Tensor

from gendistill.objectives import ban


def loss(
    logits: Tensor, labels: Tensor, teacher_logits: Tensor, *, lambda_: float, temperature: float, temperature_squared: bool
) -> Tensor:
    """mean[-lambda ln q_y - (1 - lambda) T^2 sum_k p_k ln q^T_k], p = softmax(teacher_logits / T), q^T = softmax(logits / T).

    The second term is that of `gendistill.objectives.ban`. Shapes as in `gendistill.objectives`.

    Args:
        lambda_: the weight of the labels.
        temperature: T.
        temperature_squared: whether the factor T^2 is there.
    """
    soft = ban.loss(logits, labels, teacher_logits, temperature=temperature, temperature_squared=temperature_squared)
    return lambda_ * F.cross_entropy(logits, labels) + (1 - lambda_) * soft
