"""CWTM (Furlanello et al., Born-Again Neural Networks, 2018, Eqn 10): labels only, weighted by the teacher's confidence."""

import torch.nn.functional as F
from torch import Tensor


def sample_weights(teacher_logits: Tensor) -> Tensor:
    """w_b = max_k p_bk / sum_u max_k p_uk with p = softmax(teacher_logits): float32, shape (B,), sum 1."""
    confidence = F.softmax(teacher_logits.detach(), dim=1).amax(dim=1)
    return confidence / confidence.sum()


def loss(logits: Tensor, labels: Tensor, teacher_logits: Tensor) -> Tensor:
    """-sum_b w_b ln q_by with q = softmax(logits) and the weights of `sample_weights`: a weighted mean over the batch.

    Of the teacher only the maximum of each output is used. Shapes as in `gendistill.objectives`.
    """
    return (sample_weights(teacher_logits) * F.cross_entropy(logits, labels, reduction="none")).sum()
