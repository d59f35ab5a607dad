"""Regression of the teacher's logits (Ba & Caruana, Do Deep Nets Really Need to be Deep?, 2014)."""

import torch.nn.functional as F
from torch import Tensor


def loss(logits: Tensor, labels: Tensor, teacher_logits: Tensor, *, lambda_: float, over_classes: str) -> Tensor:
    """mean[-lambda ln q_y + (1 - lambda) / 2 sum_k (z_k - t_k)^2], q = softmax(z), z = logits, t = teacher_logits.

    Shapes as in `gendistill.objectives`.

    Args:
        lambda_: the weight of the labels; 0 in the paper.
        over_classes: `sum`, as above, or `mean` over the classes: then it is what KD with the factor T^2 tends to for high
            temperatures (Hinton et al., Distilling the Knowledge in a Neural Network, 2015, section 2.1).
    """
    squares = (logits - teacher_logits.detach()).square()
    squares = squares.sum(dim=1) if over_classes == "sum" else squares.mean(dim=1)
    return lambda_ * F.cross_entropy(logits, labels) + (1 - lambda_) * squares.mean() / 2
