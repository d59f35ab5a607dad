"""Attention by gradients (Zagoruyko & Komodakis, Paying More Attention to Attention, 2017, section 3.2, Eqn 4)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gendistill.objectives.matching import lengths


def distance(gradient: Tensor, teacher_gradient: Tensor, squared: bool) -> Tensor:
    """The mean over the batch of ||J_S - J_T||_2, or of its square: a scalar. J is one vector for each image.

    Args:
        gradient: J_S, float32, shape (B, C, H, W).
        teacher_gradient: J_T, of the same shape.
        squared: whether the norm is squared.
    """
    difference = gradient - teacher_gradient.detach()
    vectors = difference.flatten(1)
    return vectors.square().sum(dim=1).mean() if squared else lengths(vectors, dim=1).mean()


def loss(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor,
    *,
    input: Tensor,
    teacher_input_gradient: Tensor,
    label_weight: float,
    beta: float,
    squared: bool,
) -> dict[str, Tensor]:
    """label_weight (-mean ln q_y) + beta / 2 mean_b ||J_S - J_T||_2, or its square, with J = d(-ln q_y) / d(image).

    J_S is the gradient of the sum over the batch; batch norm in training mixes the images, so it is not quite that of each image.
    Its own gradient by the weights takes a second backward pass. The teacher's logits are not used. Shapes as in
    `gendistill.objectives`.

    Args:
        input: the student's normalised images, float32, shape (B, C, H, W), on which `logits` depend.
        teacher_input_gradient: J_T, the teacher's by its own normalised images, float32, shape (B, C, H, W).
        label_weight: the weight of the labels; 1 in the paper.
        beta: twice the weight of the gradients.
        squared: whether the norm is squared.

    Returns:
        The terms `label` and `gradient`.
    """
    total = F.cross_entropy(logits, labels, reduction="sum")
    (gradient,) = torch.autograd.grad(total, input, create_graph=True)
    return {
        "label": label_weight * F.cross_entropy(logits, labels),
        "gradient": beta / 2 * distance(gradient, teacher_input_gradient, squared),
    }
