"""The statistics step: how confident a network is on training images."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gendistill.data.images import load_images
from gendistill.networks.trained import in_batches, load_network, logits_of
from gendistill.precision import choose_device, make_deterministic

if TYPE_CHECKING:
    from gendistill.runtime import Runtime

RANKS = 4
SPLITS = ("train", "test")


def confidence_statistics(settings: dict[str, Any], inputs: dict[str, Path], folder: Path, runtime: "Runtime") -> dict[str, Any]:
    """Mean of the largest to 4th largest probability on the plain training images, and accuracies (TT Tables 1 and 3).

    Args:
        settings: none.
        inputs: folders of the `dataset` and of the `network`.
        folder: of the step; it has no file besides the receipt.
        runtime: device, log.

    Returns:
        `confidence_top1_pct` to `confidence_top4_pct` (as many as there are classes), `train_accuracy_pct`, `test_accuracy_pct`.

    Raises:
        UserError: an input is missing or corrupt.
    """
    make_deterministic()
    device = choose_device(runtime.device)
    data = load_images(inputs["dataset"])
    network, description = load_network(inputs["network"], device)
    of_batch = partial(logits_of, network, description)
    logits = {split: in_batches(of_batch, torch.from_numpy(data.images[split]), device) for split in SPLITS}
    accuracies = {f"{split}_accuracy_pct": _accuracy(logits[split], torch.from_numpy(data.labels[split])) for split in SPLITS}
    metrics = top_confidences(logits["train"]) | accuracies
    runtime.log("  ".join(f"{name} {value:.2f}" for name, value in metrics.items()))
    return metrics


def _accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return 100 * (logits.argmax(1) == labels).double().mean().item()


def top_confidences(logits: torch.Tensor) -> dict[str, float]:
    """Mean over the samples of the k-th largest probability in percent, for k of 1 to 4; logits float (N, K)."""
    ranks = min(RANKS, logits.shape[1])
    means = logits.double().softmax(1).topk(ranks, dim=1).values.mean(dim=0)
    return {f"confidence_top{k + 1}_pct": 100 * mean for k, mean in enumerate(means.tolist())}
