"""Label smoothing (Szegedy et al., Rethinking the Inception Architecture, 2016, section 7); LSR in TT."""

import torch.nn.functional as F
from torch import Tensor


def loss(logits: Tensor, labels: Tensor, teacher_logits: Tensor | None = None, *, smoothing: float) -> Tensor:
    """-mean sum_k t_k ln p_k with t = (1 - smoothing) onehot(y) + smoothing / K. Shapes as in `gendistill.objectives`."""
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)
