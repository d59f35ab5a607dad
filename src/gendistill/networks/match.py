"""Residual students that match a DenseNet at every stage (Furlanello et al., Born-Again Neural Networks, 2018, section 4.1).

The paper says: the first and last layers are the teacher's, dense blocks are replaced by residual blocks with matched output
channels times a ratio. It gives no more than names and parameter counts. The readings below come nearest to the counts of its
Table 5; the teacher that they fit is `densenet_90_60_workshop`, whose transitions leave 480, 660 and 750 channels.
"""

from torch import nn

from gendistill.networks.densenet import Transition, halving
from gendistill.networks.grouped import PreActivation, draw_convolutions
from gendistill.networks.preresnet import EXPANSION, Bottleneck
from gendistill.networks.wide_resnet import WideBlock


class MatchWideResNet(PreActivation):
    """A DenseNet with `units` blocks of a Wide-ResNet in place of each dense block; its transitions stay.

    A group ends with its blocks, and begins with the transition between these and the ones before; the last group ends with the
    last transition.

    Args:
        channels: channels of an image.
        classes: number of classes.
        units: blocks of each group.
        ratio: channels of a group, as a multiple of what the teacher has after the transition.
        teacher_units: units of each dense block of the teacher.
        teacher_growth: channels that each of these adds.
        teacher_first_width: channels of the teacher's first convolution.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        units: int,
        ratio: float,
        teacher_units: int = 14,
        teacher_growth: int = 60,
        teacher_first_width: int = 120,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, teacher_first_width, 3, padding=1, bias=False)
        self.groups = nn.ModuleList()
        before, transition = teacher_first_width, None
        for i, width in enumerate(widths(teacher_units, teacher_growth, teacher_first_width)):
            inner = max(1, round(ratio * width))
            layers = [] if transition is None else [transition, halving()]
            layers += [WideBlock(before, inner), *(WideBlock(inner, inner) for _ in range(units - 1))]
            transition = Transition(inner, width)
            self.groups.append(nn.Sequential(*layers, *([transition] if i == 2 else [])))
            before = width
        self.norm = nn.BatchNorm2d(before)
        self.classifier = nn.Linear(before, classes)
        draw_convolutions(self)


class MatchPreResNet(PreActivation):
    """A DenseNet with `units` bottlenecks of a Pre-activation ResNet in place of each dense block and transition.

    The first bottleneck of a group changes the number of channels, and in the second and third group halves the resolution.

    Args:
        channels: channels of an image.
        classes: number of classes.
        units: bottlenecks of each group.
        ratio: channels inside a bottleneck, as a multiple of a quarter of what the teacher has after the transition.
        teacher_units: units of each dense block of the teacher.
        teacher_growth: channels that each of these adds.
        teacher_first_width: channels of the teacher's first convolution.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        units: int,
        ratio: float,
        teacher_units: int = 14,
        teacher_growth: int = 60,
        teacher_first_width: int = 120,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, teacher_first_width, 3, padding=1, bias=False)
        self.groups = nn.ModuleList()
        before = teacher_first_width
        for i, width in enumerate(widths(teacher_units, teacher_growth, teacher_first_width)):
            inner = max(1, round(ratio * width / EXPANSION))
            layers = [Bottleneck(before, inner, width, 1 if i == 0 else 2)]
            layers += [Bottleneck(width, inner, width) for _ in range(units - 1)]
            self.groups.append(nn.Sequential(*layers))
            before = width
        self.norm = nn.BatchNorm2d(before)
        self.classifier = nn.Linear(before, classes)
        draw_convolutions(self)


def widths(units: int, growth: int, first_width: int) -> list[int]:
    """Channels after each of three transitions of a DenseNet that halve them."""
    found, width = [], first_width
    for _ in range(3):
        width = (width + units * growth) // 2
        found.append(width)
    return found
