"""BAN (Furlanello et al., Born-Again Neural Networks, 2018, Eqn 2): learn from the teacher's outputs only."""

import torch.nn.functional as F
from torch import Tensor


def loss(logits: Tensor, labels: Tensor, teacher_logits: Tensor, *, temperature: float, temperature_squared: bool) -> Tensor:
    """-T^2 mean sum_k p_k ln q_k with p = softmax(teacher_logits / T) and q = softmax(logits / T).

    At T = 1 the gradient by the logits of one sample is q - p, over the batch size (BAN Eqn 7). The labels are not used.
    Shapes as in `gendistill.objectives`.

    Args:
        temperature: T.
        temperature_squared: whether the factor T^2 is there, which keeps the size of the gradient alike for every T
            (Hinton et al., 2015).
    """
    target = F.softmax(teacher_logits.detach() / temperature, dim=1)
    soft = F.cross_entropy(logits / temperature, target)
    return temperature**2 * soft if temperature_squared else soft
