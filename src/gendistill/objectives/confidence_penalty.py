"""Confidence penalty (Pereyra et al., Regularizing Neural Networks by Penalizing Confident Outputs, 2017); CP in TT."""

import torch.nn.functional as F
from torch import Tensor


def loss(logits: Tensor, labels: Tensor, teacher_logits: Tensor | None = None, *, beta: float) -> Tensor:
    """mean[-ln p_y - beta H(p)] with H(p) = -sum_k p_k ln p_k. Shapes as in `gendistill.objectives`."""
    log_p = F.log_softmax(logits, dim=1)
    entropy = -(log_p.exp() * log_p).sum(dim=1)
    return F.nll_loss(log_p, labels) - beta * entropy.mean()
