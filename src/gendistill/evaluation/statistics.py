"""The statistics step: how confident a network is on training images, and how right it is to be so on test images."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gendistill.data.images import load_images
from gendistill.files import write_csv
from gendistill.networks.trained import in_batches, load_network, logits_of
from gendistill.precision import choose_device, make_deterministic

if TYPE_CHECKING:
    from gendistill.runtime import Runtime

RANKS = 4
BINS = 15
FILE = "calibration.csv"
SPLITS = ("train", "test")


def confidence_statistics(settings: dict[str, Any], inputs: dict[str, Path], folder: Path, runtime: "Runtime") -> dict[str, Any]:
    """Mean of the largest to 4th largest probability on the plain training images, accuracies (TT Tables 1 and 3), calibration.

    Writes `calibration.csv`: a row for each bin of confidence, see `calibration`, of the plain test images.

    Args:
        settings: none.
        inputs: folders of the `dataset` and of the `network`.
        folder: of the step.
        runtime: device, log.

    Returns:
        `confidence_top1_pct` to `confidence_top4_pct` (as many as there are classes), `train_accuracy_pct`, `test_accuracy_pct`,
        `ece_test_pct`.

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
    bins, error = calibration(logits["test"], torch.from_numpy(data.labels["test"]))
    write_csv(folder / FILE, bins)
    metrics = top_confidences(logits["train"]) | accuracies | {"ece_test_pct": error}
    runtime.log("  ".join(f"{name} {value:.2f}" for name, value in metrics.items()))
    return metrics


def _accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return 100 * (logits.argmax(1) == labels).double().mean().item()


def top_confidences(logits: torch.Tensor) -> dict[str, float]:
    """Mean over the samples of the k-th largest probability in percent, for k of 1 to 4; logits float (N, K)."""
    ranks = min(RANKS, logits.shape[1])
    means = logits.double().softmax(1).topk(ranks, dim=1).values.mean(dim=0)
    return {f"confidence_top{k + 1}_pct": 100 * mean for k, mean in enumerate(means.tolist())}


def calibration(logits: torch.Tensor, labels: torch.Tensor) -> tuple[list[dict[str, float | str]], float]:
    """How often a network is right where it is how confident (Naeini et al., 2015; Guo et al., 2017).

    Confidence is the largest probability. Its 15 bins are equally wide, each without its lower and with its upper end. The expected
    calibration error is sum_b n_b / N |accuracy_b - mean confidence_b|.

    Args:
        logits: float (N, K).
        labels: int64 (N,).

    Returns:
        For each bin `low_pct`, `high_pct`, `images`, `confidence_pct` (mean) and `accuracy_pct` (neither without images); and the
        expected calibration error in percent.
    """
    confidence, predicted = logits.double().softmax(1).max(dim=1)
    right = (predicted == labels).double()
    ends = torch.arange(BINS + 1, dtype=torch.float64) / BINS
    bin_of = torch.bucketize(confidence, ends[1:-1])
    rows: list[dict[str, float | str]] = []
    error = 0.0
    for b in range(BINS):
        own = bin_of == b
        row: dict[str, float | str] = {
            "low_pct": 100 * ends[b].item(),
            "high_pct": 100 * ends[b + 1].item(),
            "images": int(own.sum()),
        }
        if own.any():
            mean, accuracy = confidence[own].mean().item(), right[own].mean().item()
            error += row["images"] / len(labels) * abs(accuracy - mean)
        rows.append(row | ({"confidence_pct": 100 * mean, "accuracy_pct": 100 * accuracy} if own.any() else {}))
    return rows, 100 * error
