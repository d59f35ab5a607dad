"""Peers that teach each other (Zhang et al., Deep Mutual Learning, 2018)."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from gendistill.errors import SettingError
from gendistill.networks.joint import Joint, position


class Peers(Joint):
    """K networks that see the same images; each is a member, `peer1` to `peerK`, and `peer1` is the main one.

    They share no weights, and begin at different ones.

    Args:
        channels: channels of an image.
        classes: number of classes.
        networks: what builds each peer; they may differ.

    Raises:
        SettingError: there are fewer than two peers.
    """

    def __init__(self, channels: int, classes: int, networks: list[Callable[..., nn.Module]]) -> None:
        super().__init__()
        if len(networks) < 2:
            raise SettingError(f"network.networks: {len(networks)} network; peers that teach each other must be at least 2")
        self.peers = nn.ModuleList(build(channels=channels, classes=classes) for build in networks)

    def outputs(self, images: Tensor, key: int) -> dict[str, Any]:
        """`logits` of the first peer, and `peer_logits` of all: a list of float32 (B, K)."""
        logits = [peer(images).float() for peer in self.peers]
        return {"logits": logits[0], "peer_logits": logits}

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the first peer: float (B, C, H, W) -> (B, K)."""
        return self.peers[0](images)

    def member_logits(self, images: Tensor) -> dict[str, Tensor]:
        """Logits of each peer: float (B, C, H, W) -> (B, K) each."""
        return {f"peer{number}": peer(images) for number, peer in enumerate(self.peers, start=1)}

    def take(self, member: str) -> nn.Module:
        """The peer itself.

        Raises:
            SettingError: there is no such peer.
        """
        return self.peers[position(member, "peer", len(self.peers))]


def alone(settings: dict[str, Any], member: str) -> dict[str, Any]:
    """The settings of a peer: those of its own network.

    Raises:
        SettingError: there is no such peer.
    """
    return dict(settings["networks"][position(member, "peer", len(settings["networks"]))])
