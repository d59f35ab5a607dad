"""Several networks that are trained in one run: what each kind of them shows."""

from typing import Any

from torch import Tensor, nn

from gendistill.errors import SettingError


class Joint(nn.Module):
    """Networks that learn together. Each that can be used afterwards is a member; the main one answers for all.

    Beside its class a module has the function `alone(settings, member) -> settings`: of the network that the member is once the
    run is over, without what only training needs. `take(member)` has that network's weights.
    """

    def outputs(self, images: Tensor, key: int) -> dict[str, Any]:
        """What a training step computes, from one pass: `logits` of the main member, float (B, K), and what the objective needs.

        Args:
            images: float (B, C, H, W).
            key: of 64 bits, for what is drawn in this step.
        """
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the main member: float (B, C, H, W) -> (B, K)."""
        raise NotImplementedError

    def member_logits(self, images: Tensor) -> dict[str, Tensor]:
        """Logits of every member from one pass in eval mode: float (B, C, H, W) -> (B, K) each."""
        raise NotImplementedError

    def take(self, member: str) -> nn.Module:
        """The member alone, as `alone` of the settings builds it; its weights may be those of this network, or copies."""
        raise NotImplementedError


def position(member: str, kind: str, count: int) -> int:
    """The position, from 0, of a member called `kind` and its number, from 1: 1 of `peer2`.

    Raises:
        SettingError: there is no such member.
    """
    names = [f"{kind}{number}" for number in range(1, count + 1)]
    if member not in names:
        raise no_member(member, names)
    return names.index(member)


def no_member(member: str, names: list[str]) -> SettingError:
    """The error that a joint network has no such member."""
    return SettingError(f"member {member}: there is none, the network has {', '.join(names)}. Set network.takes in the experiment.")
