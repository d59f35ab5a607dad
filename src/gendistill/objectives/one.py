"""ONE (Lan et al., Knowledge Distillation by On-the-Fly Native Ensemble, 2018): branches learn from their gated ensemble."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def loss(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor | None,
    *,
    branch_logits: list[Tensor],
    gate: Tensor,
    alone: Callable[..., Tensor],
    temperature: float,
) -> dict[str, Tensor]:
    """sum_i alone(z_i) + alone(z_e) + T^2 sum_i mean KL(p_e^T || p_i^T), z_e = sum_i g_i z_i, p^T = softmax(z / T).

    No gradient flows to the ensemble from the last term: in it, it is the teacher. Shapes as in `gendistill.objectives`.

    Args:
        branch_logits: z_1 to z_(m + 1), float32 (B, K) each.
        gate: g, float32 (B, m + 1), rows of sum 1.
        alone: what each branch, and the ensemble, would minimise by itself; in the paper cross-entropy.
        temperature: T; 3 in the paper.

    Returns:
        `branches`, `ensemble`, `distil`: the three terms.
    """
    together = (torch.stack(branch_logits, dim=1) * gate[:, :, None]).sum(dim=1)
    log_e = F.log_softmax(together.detach() / temperature, dim=1)
    divergences = [
        F.kl_div(F.log_softmax(each / temperature, dim=1), log_e, reduction="batchmean", log_target=True) for each in branch_logits
    ]
    return {
        "branches": sum(alone(each, labels, teacher_logits) for each in branch_logits),
        "ensemble": alone(together, labels, teacher_logits),
        "distil": temperature**2 * sum(divergences),
    }
