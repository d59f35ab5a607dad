"""The statistics step: how confident the networks of a lineage are on their training images."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file

from gendistill.data.images import load_images
from gendistill.files import verified
from gendistill.networks.trained import in_batches, load_network, logits_of
from gendistill.precision import choose_device, make_deterministic

if TYPE_CHECKING:
    from gendistill.runtime import Runtime

RANKS = 4


def confidence_statistics(settings: dict[str, Any], inputs: dict[str, Any], folder: Path, runtime: "Runtime") -> dict[str, Any]:
    """Mean of the largest to 4th largest probability on the plain training images, and accuracies (TT Tables 1 and 3).

    Args:
        settings: none.
        inputs: folders of the `dataset` and, by generation, of the `networks`.
        folder: of the step; it has no file besides the receipt.
        runtime: device, log.

    Returns:
        For each generation: `confidence_top1_pct` to `confidence_top4_pct`, train and test accuracy in percent.

    Raises:
        UserError: an input is missing or corrupt.
    """
    make_deterministic()
    device = choose_device(runtime.device)
    data = load_images(inputs["dataset"])
    generations = []
    for folder_of_network in inputs["networks"]:
        network, description = load_network(folder_of_network, device)
        images, labels = torch.from_numpy(data.images["train"]), torch.from_numpy(data.labels["train"])
        logits = in_batches(partial(logits_of, network, description), images, device)
        test = load_file(verified(folder_of_network / "logits.safetensors"))
        row = {
            **top_confidences(logits),
            "train_accuracy_pct": _accuracy(logits, labels),
            "test_accuracy_pct": _accuracy(test["logits"], test["labels"]),
        }
        runtime.log("  ".join(f"{name} {value:.2f}" for name, value in row.items()))
        generations.append(row)
    return {"generations": generations}


def _accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return 100 * (logits.argmax(1) == labels).double().mean().item()


def top_confidences(logits: torch.Tensor) -> dict[str, float]:
    """Mean over the samples of the k-th largest probability in percent, for k of 1 to 4; logits float (N, K)."""
    ranks = min(RANKS, logits.shape[1])
    means = logits.double().softmax(1).topk(ranks, dim=1).values.mean(dim=0)
    return {f"confidence_top{k + 1}_pct": 100 * mean for k, mean in enumerate(means.tolist())}
