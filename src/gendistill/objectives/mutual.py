"""Deep Mutual Learning (Zhang et al., Deep Mutual Learning, 2018): networks that learn from labels and from each other."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor


def loss(
    logits: Tensor, labels: Tensor, teacher_logits: Tensor | None, *, peer_logits: list[Tensor], alone: Callable[..., Tensor]
) -> dict[str, Tensor]:
    """sum_k L_k with L_k = alone_k + 1 / (K - 1) sum_(j != k) mean KL(p_j || p_k), p_k = softmax(z_k) (Eqns 5, 6 and 10).

    p_j is a constant in L_k, so the gradient by the weights of peer k is that of L_k: each peer has its own loss, and, since SGD
    treats each weight by itself, its own optimizer. Algorithm 1 of the paper updates the peers in turn, and computes p_j anew
    after each update; here all are updated together, from the same outputs. Shapes as in `gendistill.objectives`.

    Args:
        peer_logits: z_1 to z_K, float32 (B, K_classes) each, K of at least 2.
        alone: what each peer would minimise by itself, of its logits, labels and teacher_logits; in the paper cross-entropy.

    Returns:
        `alone`: sum_k alone_k; `mutual`: the rest.
    """
    log_p = [F.log_softmax(each, dim=1) for each in peer_logits]
    divergences = [
        F.kl_div(own, other.detach(), reduction="batchmean", log_target=True)
        for k, own in enumerate(log_p)
        for j, other in enumerate(log_p)
        if j != k
    ]
    return {
        "alone": sum(alone(each, labels, teacher_logits) for each in peer_logits),
        "mutual": sum(divergences) / (len(peer_logits) - 1),
    }
