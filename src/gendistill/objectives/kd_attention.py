"""Knowledge distillation and attention transfer together, as in EKD (see `gendistill.objectives.kd`)."""

from torch import Tensor

from gendistill.objectives import attention_transfer, kd
from gendistill.objectives.matching import Shapes


def check(shapes: Shapes, teacher_shapes: Shapes) -> None:
    """Check that student and teacher have as many maps, of equal resolutions.

    Raises:
        SettingError: see `gendistill.objectives.attention_transfer.check`.
    """
    attention_transfer.check(shapes, teacher_shapes)


def loss(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor,
    *,
    maps: list[Tensor],
    teacher_maps: list[Tensor],
    alpha: float,
    alpha_weighs: str,
    temperature: float,
    temperature_squared: bool,
    beta: float,
) -> Tensor:
    """The loss of `gendistill.objectives.kd` + beta x the distance of `gendistill.objectives.attention_transfer`.

    Shapes as in `gendistill.objectives`; settings as in the two modules.
    """
    soft = kd.loss(
        logits,
        labels,
        teacher_logits,
        alpha=alpha,
        alpha_weighs=alpha_weighs,
        temperature=temperature,
        temperature_squared=temperature_squared,
    )
    return soft + beta * attention_transfer.distance(maps, teacher_maps)
