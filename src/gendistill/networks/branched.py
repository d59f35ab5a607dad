"""Branches on shared layers, with a gate that makes them an ensemble (Lan et al., On-the-Fly Native Ensemble, ONE, 2018)."""

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.errors import SettingError
from gendistill.networks.grouped import Grouped
from gendistill.networks.joint import Joint, no_member
from gendistill.networks.split import keep_last, map_shapes

MEMBERS = ["single", "ensemble"]


class Branched(Joint):
    """A network, and more branches like its last groups, all fed by its first ones.

    The first branch and the shared layers are a whole network, the member `single`; the member `ensemble` keeps all branches,
    and adds up their logits z_i, weighted by the gate: sum_i g_i z_i.

    Args:
        channels: channels of an image.
        classes: number of classes.
        networks: one, which builds the network.
        branches: how many there are, with the network's own; 3 in the paper.
        separate: how many of the last groups each branch has for itself; 1 in the paper (2 for ImageNet).
        answer: what `forward` gives: the logits of `single`, or those of the `ensemble`.

    Raises:
        SettingError: there is not one network, or it has fewer groups than each branch is to have for itself.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        networks: list[Callable[..., Grouped]],
        branches: int = 3,
        separate: int = 1,
        answer: str = "single",
    ) -> None:
        super().__init__()
        if len(networks) != 1:
            raise SettingError(f"network.networks: {len(networks)} networks; branches need 1, which all of them are like")
        self.answer = answer
        self.single = networks[0](channels=channels, classes=classes)
        groups = len(self.single.groups)
        if separate > groups:
            raise SettingError(f"network.separate = {separate}: must be at most {groups}, the groups of the network")
        self.shared = groups - separate
        rest = (networks[0](channels=channels, classes=classes) for _ in range(branches - 1))
        self.others = nn.ModuleList(keep_last(each, separate, channels) for each in rest)
        width, _ = map_shapes(self.single, channels)[self.shared]
        self.gate = nn.Sequential(nn.Linear(width, branches), nn.BatchNorm1d(branches), nn.ReLU())

    def outputs(self, images: Tensor, key: int) -> dict[str, Any]:
        """`logits` of the answer, `branch_logits`: a list of float32 (B, K), and `gate`: float32 (B, branches), rows of sum 1."""
        logits, gate = self._branches(images)
        return {"logits": self._answer(logits, gate), "branch_logits": logits, "gate": gate}

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the answer: float (B, C, H, W) -> (B, K)."""
        return self.single(images) if self.answer == "single" else self._answer(*self._branches(images))

    def member_logits(self, images: Tensor) -> dict[str, Tensor]:
        """Logits of `single` and `ensemble`: float (B, C, H, W) -> (B, K) each."""
        logits, gate = self._branches(images)
        return {"single": logits[0], "ensemble": ensemble_logits(logits, gate)}

    def take(self, member: str) -> nn.Module:
        """`single`: the network with the first branch; `ensemble`: all of this, with another answer.

        Raises:
            SettingError: there is no such member.
        """
        if member not in MEMBERS:
            raise no_member(member, MEMBERS)
        if member == "single":
            return self.single
        whole = copy.copy(self)
        whole.answer = member
        return whole

    def _answer(self, logits: list[Tensor], gate: Tensor) -> Tensor:
        return logits[0] if self.answer == "single" else ensemble_logits(logits, gate)

    def _branches(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Logits of each branch, float32 (B, K), and the gate, float32 (B, branches)."""
        first = self.single.begin(images)
        for group in self.single.groups[: self.shared]:
            first = group(first)
        gate = F.softmax(self.gate(first.mean(dim=(2, 3))).float(), dim=1)
        logits = []
        for network, groups in [(self.single, self.single.groups[self.shared :]), *((o, o.groups) for o in self.others)]:
            last = first
            for group in groups:
                last = group(last)
            logits.append(network.classifier(network.pool(last)).float())
        return logits, gate


def ensemble_logits(logits: list[Tensor], gate: Tensor) -> Tensor:
    """sum_i g_i z_i: the logits of branches, (B, K) each, weighted by the gate, (B, branches) -> (B, K)."""
    return (torch.stack(logits, dim=1) * gate[:, :, None]).sum(dim=1)


def alone(settings: dict[str, Any], member: str) -> dict[str, Any]:
    """The settings of `single`, a plain network, or of `ensemble`, which needs all branches.

    Raises:
        SettingError: there is no such member.
    """
    if member not in MEMBERS:
        raise no_member(member, MEMBERS)
    return dict(settings["networks"][0]) if member == "single" else {**settings, "answer": member}
