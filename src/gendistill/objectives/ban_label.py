"""BAN+L (Furlanello et al., Born-Again Neural Networks, 2018, Table 2): learn from the labels and from the teacher's outputs."""

import torch.nn.functional as F
from torch import Tensor


def loss(logits: Tensor, labels: Tensor, teacher_logits: Tensor, *, lambda_: float, temperature: float) -> Tensor:
    """mean[-lambda ln q_y - (1 - lambda) T^2 sum_k p_k ln q^T_k], p = softmax(teacher_logits / T), q^T = softmax(logits / T).

    Shapes as in `gendistill.objectives`.
    """
    target = F.softmax(teacher_logits / temperature, dim=1)
    soft = temperature**2 * F.cross_entropy(logits / temperature, target)
    return lambda_ * F.cross_entropy(logits, labels) + (1 - lambda_) * soft
