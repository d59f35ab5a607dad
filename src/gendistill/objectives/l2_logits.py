"""Regression of the teacher's logits (Ba & Caruana, Do Deep Nets Really Need to be Deep?, 2014)."""

import torch.nn.functional as F
from torch import Tensor


def loss(logits: Tensor, labels: Tensor, teacher_logits: Tensor, *, lambda_: float) -> Tensor:
    """mean[-lambda ln q_y + (1 - lambda) / 2 sum_k (z_k - t_k)^2], q = softmax(z), z = logits, t = teacher_logits.

    The factor is 1/2 over the batch size, with the sum over the classes. Shapes as in `gendistill.objectives`.

    Args:
        lambda_: the weight of the labels; 0 in the paper.
    """
    squares = (logits - teacher_logits.detach()).square().sum(dim=1)
    return lambda_ * F.cross_entropy(logits, labels) + (1 - lambda_) * squares.mean() / 2
