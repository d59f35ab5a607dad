"""Be Your Own Teacher (Zhang et al., 2019, Eqns 2 to 4): the deepest exit of a network teaches the exits before it."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor


def loss(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor | None,
    *,
    exit_logits: list[Tensor],
    exit_features: list[Tensor],
    alone: Callable[..., Tensor],
    alpha: float,
    lambda_: float,
    temperature: float,
) -> dict[str, Tensor]:
    """alone(z_N) + sum_(i < N) [(1 - alpha) alone(z_i) + alpha T^2 mean KL(q_N^T || q_i^T) + lambda mean ||F_i - F_N||_2^2].

    q^T = softmax(z / T), means over the batch. The deepest exit N is a constant in what it teaches, so it learns from the labels
    only. The factor T^2 keeps the size of the gradient alike for every T (Hinton et al., 2015). Shapes as in
    `gendistill.objectives`.

    Args:
        exit_logits: z_1 to z_N, float32 (B, K) each.
        exit_features: F_1 to F_N, what the classifiers are given, float32 (B, F) each.
        alone: what each exit would minimise by itself; in the paper cross-entropy.
        alpha: the weight of the deepest exit's outputs.
        lambda_: the weight of its features.
        temperature: T; normally 1 in the paper.

    Returns:
        `label`: the terms of `alone`; `outputs`: those of the divergences; `features`: the rest.
    """
    *earlier, deepest = exit_logits
    *earlier_features, deepest_features = exit_features
    log_q = F.log_softmax(deepest.detach() / temperature, dim=1)
    divergences = [
        F.kl_div(F.log_softmax(each / temperature, dim=1), log_q, reduction="batchmean", log_target=True) for each in earlier
    ]
    distances = [(each - deepest_features.detach()).square().sum(dim=1).mean() for each in earlier_features]
    by_labels = sum(alone(each, labels, teacher_logits) for each in earlier)
    return {
        "label": alone(deepest, labels, teacher_logits) + (1 - alpha) * by_labels,
        "outputs": alpha * temperature**2 * sum(divergences),
        "features": lambda_ * sum(distances),
    }
