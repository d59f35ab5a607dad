"""Cross-entropy with the labels."""

import torch.nn.functional as F
from torch import Tensor


def loss(logits: Tensor, labels: Tensor, teacher_logits: Tensor | None = None) -> Tensor:
    """-mean ln p_y, with p = softmax(logits) and y the label. Shapes as in `gendistill.objectives`."""
    return F.cross_entropy(logits, labels)
