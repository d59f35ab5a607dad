"""Top score difference (TT Eqn 3): a tolerant patriarch, which leaves some of its confidence to other classes."""

import torch.nn.functional as F
from torch import Tensor

from gendistill.errors import SettingError


def eta_of(u: float, top_k: int) -> float:
    """The weight eta for which the minimiser's top score is u: eta = u K / (K - 1 + u K), the inverse of TT's u(eta)."""
    return u * top_k / (top_k - 1 + u * top_k)


def loss(logits: Tensor, labels: Tensor, teacher_logits: Tensor | None = None, *, u: float, top_k: int) -> Tensor:
    """mean[-eta ln p_y + (1 - eta) (p_(1) - (p_(2) + ... + p_(K)) / (K - 1))], p_(k) the k-th largest probability.

    The top score of its minimiser is u = min(eta / (1 - eta) * (K - 1) / K, 1). Shapes as in `gendistill.objectives`.

    Args:
        u: the top score to tend to; TT uses 0.6 to 0.8.
        top_k: K, how many of the largest probabilities count; 5 in TT.

    Raises:
        SettingError: there are fewer than `top_k` classes, or u is below 1 / top_k (a top score can't be smaller).
    """
    if logits.shape[1] < top_k:
        raise SettingError(f"objective.top_k = {top_k}: more than the {logits.shape[1]} classes of the data set.")
    if u < 1 / top_k:
        raise SettingError(f"objective.u = {u}: must be at least 1 / top_k = {1 / top_k:g}, the least a top score can be.")
    eta = eta_of(u, top_k)
    log_p = F.log_softmax(logits, dim=1)
    top = log_p.exp().topk(top_k, dim=1).values
    difference = top[:, 0] - top[:, 1:].mean(dim=1)
    return eta * F.nll_loss(log_p, labels) + (1 - eta) * difference.mean()
