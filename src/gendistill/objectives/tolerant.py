"""The mixture of TT (Yang et al., Knowledge Distillation in Generations, 2019, Eqn 2): D(u, lambda)."""

import torch.nn.functional as F
from torch import Tensor


def loss(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor,
    *,
    lambda_: float,
    lambda_weighs: str,
    temperature: float,
    temperature_squared: bool,
) -> Tensor:
    """mean[lambda (-ln q_y) + (1 - lambda) T^2 KL(p || q^T)], p = softmax(teacher_logits / T), q^T = softmax(logits / T).

    The KL term has the sign that makes it small; Eqn 2 prints the other one. Shapes as in `gendistill.objectives`.

    Args:
        lambda_: the weight of one term; 0.6 in TT.
        lambda_weighs: `label`, as Eqn 2 prints, or `teacher`, which swaps the weights of the two terms.
        temperature: T; 1 in TT.
        temperature_squared: whether the factor T^2 is there.
    """
    label_weight = lambda_ if lambda_weighs == "label" else 1 - lambda_
    log_p = F.log_softmax(teacher_logits.detach() / temperature, dim=1)
    log_q = F.log_softmax(logits / temperature, dim=1)
    divergence = F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
    if temperature_squared:
        divergence = temperature**2 * divergence
    return label_weight * F.cross_entropy(logits, labels) + (1 - label_weight) * divergence
