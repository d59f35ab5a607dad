"""Trained networks for people outside: found by name, fetched if need be, and fed with pixels or words as they are."""

import json
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gendistill.data.images import FILE as DATASET
from gendistill.errors import UserError
from gendistill.files import read_receipt, verified
from gendistill.language import trained as language
from gendistill.language.corpus import UNKNOWN
from gendistill.networks import trained as images
from gendistill.networks.weights import FILE
from gendistill.precision import autocast
from gendistill.sharing.find import find_here, find_in

CPU = torch.device("cpu")


class ImageModel(nn.Module):
    """A trained network that takes pixels and gives logits.

    Attributes:
        network: the bare network; it wants normalised images.
        description: how it was built and trained: settings, image shape, mean and deviation of the pixels.
        classes: the names of the classes, where the data set lies beside the network; else their numbers, as text.
        receipt: what `receipt.json` says: settings, metrics, versions.
    """

    def __init__(self, network: nn.Module, description: images.Description, classes: list[str], receipt: dict[str, Any]) -> None:
        super().__init__()
        self.network, self.description, self.classes, self.receipt = network, description, classes, receipt

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits of images: values from 0 to 255, any number type, (B, C, H, W) -> float32 (B, K).

        Raises:
            UserError: the images have another shape than (B, C, H, W), or other channels than those it was trained on.
        """
        channels, *size = self.description.shape
        if pixels.ndim != 4 or pixels.shape[1] != channels:
            raise UserError(
                f"images of shape {tuple(pixels.shape)}: it must be (number of images, {channels}, height, width); the network "
                f"was trained on {channels} channel(s) of {size[0]}x{size[1]} pixels."
            )
        if pixels.is_floating_point() and 0 < pixels.detach().abs().max() <= 1:
            warnings.warn("all pixel values are within 0 .. 1; the network wants 0 .. 255, so multiply them by 255", stacklevel=2)
        with autocast(self.description.precision, pixels.device):
            return self.network(self.description.normalise(pixels)).float()


class LanguageModel(nn.Module):
    """A trained language model that takes words, as numbers, and gives the logits of each next word.

    Attributes:
        network: the bare network.
        description: how it was built.
        vocabulary: the words in order of their numbers.
        receipt: what `receipt.json` says: settings, metrics, versions.
    """

    def __init__(self, network: nn.Module, description: language.Description, receipt: dict[str, Any]) -> None:
        super().__init__()
        self.network, self.description, self.receipt = network, description, receipt
        self.vocabulary = description.vocabulary
        self._numbers = {word: i for i, word in enumerate(self.vocabulary)}

    def forward(self, tokens: Tensor, state: language.State | None = None) -> tuple[Tensor, language.State]:
        """Logits of each next word, and the state to go on with: int64 (T, B) -> float32 (T, B, V), state.

        Args:
            tokens: B texts of T words side by side, as numbers.
            state: what an earlier call returned; if None, the texts start here.
        """
        state = self.network.initial_state(tokens.shape[1]) if state is None else state
        with autocast(self.description.precision, tokens.device):
            return self.network(tokens, state)

    def encode(self, words: list[str]) -> Tensor:
        """The numbers of the words of one text, int64 (T, 1); words that it does not know are `<unk>`.

        Raises:
            UserError: a word is not known, and the vocabulary has no `<unk>`.
        """
        unknown = self._numbers.get(UNKNOWN)
        strange = [word for word in words if word not in self._numbers]
        if strange and unknown is None:
            raise UserError(f"the network does not know these words, and its vocabulary has no {UNKNOWN}: {', '.join(strange[:5])}")
        return torch.tensor([self._numbers.get(word, unknown) for word in words], dtype=torch.int64)[:, None]


def load(name: str, repo: str | None = None, rev: str | None = None) -> nn.Module:
    """See `gendistill.load`."""
    if rev is not None and repo is None:
        raise UserError(f'rev = {rev}: it is the revision of a repository. Give that too, such as repo="." for this one.')
    folder = find_here(os.fspath(name)) if repo is None else find_in(os.fspath(repo), rev, os.fspath(name))
    receipt = read_receipt(folder)
    try:
        return _model(folder, receipt).eval()
    except UserError as error:
        # Whole and as the receipt says: then other code made it.
        verified(folder / FILE)
        commit, first = receipt.get("environment", {}).get("git_commit"), str(error).partition("\n")[0].rstrip(":")
        raise UserError(f"{first}. Its receipt says that it was made at git commit {commit}: use gendistill as of then.") from error


def _model(folder: Path, receipt: dict[str, Any]) -> nn.Module:
    if receipt["spec"]["kind"].startswith("language"):
        return LanguageModel(*language.load_language_model(folder, CPU), receipt)
    network, description = images.load_network(folder, CPU)
    dataset = folder.parent.parent / str(receipt["spec"].get("inputs", {}).get("dataset"))
    return ImageModel(network, description, _class_names(dataset, description.classes), receipt)


def _class_names(dataset: Path, count: int) -> list[str]:
    """The names of the classes from a prepared data set, if it is here; else their numbers."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(dataset / DATASET, framework="numpy") as file:
            about = file.metadata() or {}
        names = json.loads(about.get("names") or about["index"])["classes"]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        names = []
    return names if len(names) == count else [str(number) for number in range(count)]
