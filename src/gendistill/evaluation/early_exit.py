"""The early_exit step: how much of a network's work is saved when an image may leave it at the first exit that is sure."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor

from gendistill.errors import UserError
from gendistill.files import verified, write_csv
from gendistill.networks.trained import load_network

if TYPE_CHECKING:
    from gendistill.runtime import Runtime

Row = dict[str, float]
# A threshold that no probability reaches.
NEVER = 2.0


def evaluate_early_exit(
    settings: dict[str, Any], inputs: dict[str, list[Path]], folder: Path, runtime: "Runtime"
) -> dict[str, Any]:
    """Accuracy and work of a network whose images leave at the first exit that is sure (Zhang et al., Be Your Own Teacher, 2019).

    An image leaves at the first exit whose largest probability is at least a threshold, or at the last. It costs the layers up
    to there, and every exit that it was shown on the way.

    Args:
        settings: `thresholds`: a list of numbers; the results are given for each.
        inputs: folders of the `exits`, from the first to the deepest, each of a network alone with its test logits.
        folder: of the step; `early_exit.csv` is written there, a row per threshold.
        runtime: log.

    Returns:
        `test_accuracy_pct` and `multiply_adds_millions` (of one image) of the deepest exit alone;
        `early_exit_multiply_adds_millions`, the least mean of all thresholds at which the accuracy is at least that, with its
        `early_exit_threshold` and `early_exit_test_accuracy_pct`. The threshold is chosen on the test images; it is 2 if none of
        them will do.

    Raises:
        UserError: an exit is missing, corrupt, or was tested on other images.
    """
    outputs = [load_file(verified(each / "logits.safetensors")) for each in inputs["exits"]]
    labels = outputs[0]["labels"]
    if any(not np.array_equal(output["labels"], labels) for output in outputs):
        raise UserError("the exits of a network must be tested on the same images")
    logits = np.stack([output["logits"].astype(np.float64) for output in outputs])
    counted = [multiply_adds(each) for each in inputs["exits"]]
    costs = path_costs(counted)
    rows = [leave_early(logits, labels, costs, threshold) for threshold in settings["thresholds"]]
    write_csv(folder / "early_exit.csv", rows)
    deepest = 100 * float((logits[-1].argmax(1) == labels).mean())
    enough = [row for row in [*rows, leave_early(logits, labels, costs, NEVER)] if row["test_accuracy_pct"] >= deepest]
    best = min(enough, key=lambda row: row["multiply_adds"])
    least = f"{best['multiply_adds']:.4g} multiply-adds at threshold {best['threshold']:g}"
    runtime.log(f"{len(outputs)} exits, accuracy of the deepest {deepest:.2f} %, kept with {least}")
    return {
        "test_accuracy_pct": deepest,
        "multiply_adds_millions": sum(counted[-1]) / 1e6,
        "early_exit_multiply_adds_millions": best["multiply_adds"] / 1e6,
        "early_exit_threshold": best["threshold"],
        "early_exit_test_accuracy_pct": best["test_accuracy_pct"],
    }


def leave_early(logits: np.ndarray, labels: np.ndarray, costs: Sequence[float], threshold: float) -> Row:
    """What comes of one threshold.

    Args:
        logits: of exits 1 to E, float64 (E, N, K).
        labels: int64 (N,).
        costs: of an image that leaves at each exit, E numbers.
        threshold: the least probability of the predicted class with which an image leaves.

    Returns:
        `threshold`, `test_accuracy_pct`, `multiply_adds` (mean over the images), and `exit1_pct`, ...: the share of the images
        that leave at each exit, in percent.
    """
    shifted = np.exp(logits - logits.max(axis=2, keepdims=True))
    sure = 1 / shifted.sum(axis=2) >= threshold
    sure[-1] = True
    exits = sure.argmax(axis=0)
    predicted = logits.argmax(axis=2)[exits, np.arange(len(labels))]
    shares = np.bincount(exits, minlength=len(logits)) / len(labels)
    return {
        "threshold": threshold,
        "test_accuracy_pct": 100 * float((predicted == labels).mean()),
        "multiply_adds": float(shares @ np.asarray(costs)),
        **{f"exit{number}_pct": 100 * float(share) for number, share in enumerate(shares, start=1)},
    }


def path_costs(costs: Sequence[tuple[float, float]]) -> list[float]:
    """Of an image that leaves at each exit: the groups up to it, once, and all exits up to it.

    costs: of each exit, from the first, the multiply-adds of the groups up to it, and of the exit by itself.
    """
    ways_out = np.cumsum([exit for _, exit in costs])
    return [groups + float(out) for (groups, _), out in zip(costs, ways_out, strict=True)]


def multiply_adds(folder: Path) -> tuple[float, float]:
    """Of one image, in the network of a step's folder: multiply-adds up to the output of its last group, and after that.

    Raises:
        UserError: the file is missing, corrupt, or does not fit the network that it names.
    """
    network, description = load_network(folder, torch.device("cpu"))
    image = torch.zeros(1, *description.shape, device="meta")
    network = network.to("meta")
    groups, whole = _multiply_adds(network.maps, image), _multiply_adds(network, image)
    return groups, whole - groups


def _multiply_adds(function: Callable[[Tensor], Any], image: Tensor) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function(image)
    return counter.get_total_flops() / 2
