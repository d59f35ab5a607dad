"""BAN+L of BAN's workshop version (Furlanello et al., Born Again Neural Networks, 2017, Eqn 2): two terms without weights."""

import torch.nn.functional as F
from torch import Tensor

from gendistill.objectives import ban


def loss(logits: Tensor, labels: Tensor, teacher_logits: Tensor, *, temperature: float, temperature_squared: bool) -> Tensor:
    """mean[-ln q_y - T^2 sum_k p_k ln q^T_k], p = softmax(teacher_logits / T), q^T = softmax(logits / T).

    Twice the loss of `gendistill.objectives.ban_label` with lambda = 0.5. Shapes as in `gendistill.objectives`.

    Args:
        temperature: T.
        temperature_squared: whether the factor T^2 is there.
    """
    soft = ban.loss(logits, labels, teacher_logits, temperature=temperature, temperature_squared=temperature_squared)
    return F.cross_entropy(logits, labels) + soft
