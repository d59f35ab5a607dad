"""BAN (Furlanello et al., Born-Again Neural Networks, 2018, Eqn 2): learn from the teacher's outputs only."""

import torch.nn.functional as F
from torch import Tensor


def loss(logits: Tensor, labels: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """-T^2 mean sum_k p_k ln q_k with p = softmax(teacher_logits / T) and q = softmax(logits / T).

    At T = 1 the gradient by the logits of one sample is q - p, over the batch size (BAN Eqn 7). The factor T^2 keeps its
    size alike for every temperature (Hinton et al., 2015). The labels are not used. Shapes as in `gendistill.objectives`.
    """
    target = F.softmax(teacher_logits / temperature, dim=1)
    return temperature**2 * F.cross_entropy(logits / temperature, target)
