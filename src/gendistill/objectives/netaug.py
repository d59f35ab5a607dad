"""NetAug (Cai et al., Network Augmentation for Tiny Deep Learning, 2022, Eqn 2): a tiny network learns as a part of wider ones."""

from collections.abc import Callable

from torch import Tensor


def loss(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor | None,
    *,
    augmented_logits: Tensor,
    alone: Callable[..., Tensor],
    alpha: float,
) -> dict[str, Tensor]:
    """L(W_base) + alpha L([W_base, W_aug]), L = alone: of the base's logits, and of those of the wider network of this step.

    Shapes as in `gendistill.objectives`.

    Args:
        augmented_logits: float32 (B, K).
        alone: what the base would minimise by itself; in the paper cross-entropy, or KD with a teacher.
        alpha: the weight of the wider network.

    Returns:
        `base` and `augmented`: the two terms.
    """
    return {
        "base": alone(logits, labels, teacher_logits),
        "augmented": alpha * alone(augmented_logits, labels, teacher_logits),
    }
