"""The ensemble step: average the outputs of several networks on the test images."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file

from gendistill.errors import UserError
from gendistill.files import verified

if TYPE_CHECKING:
    from gendistill.runtime import Runtime

TOP = 5


def evaluate_ensemble(settings: dict[str, Any], inputs: dict[str, list[Path]], folder: Path, runtime: "Runtime") -> dict[str, Any]:
    """Error of the average of the members' outputs (BAN Eqn 4).

    Args:
        settings: `average`: of `probabilities` or of `logits`.
        inputs: folders of the `members`.
        folder: of the step; it has no file besides the receipt.
        runtime: log.

    Returns:
        Error (and, where there are more than 5 classes, top-5 error) in percent and cross-entropy in nats of the ensemble, and
        the mean error of its members.

    Raises:
        UserError: a member is missing, corrupt, or was tested on other images.
    """
    outputs = [load_file(verified(member / "logits.safetensors")) for member in inputs["members"]]
    labels = outputs[0]["labels"]
    if any(not np.array_equal(output["labels"], labels) for output in outputs):
        raise UserError("the members of an ensemble must be tested on the same images")
    logits = np.stack([output["logits"].astype(np.float64) for output in outputs])
    log_p = average_outputs(logits, settings["average"])
    error = 100 * float((log_p.argmax(1) != labels).mean())
    runtime.log(f"{len(outputs)} members, error {error:.2f} %")
    top5 = {}
    if log_p.shape[1] > TOP:
        best = np.argpartition(-log_p, TOP, axis=1)[:, :TOP]
        top5 = {f"test_top{TOP}_error_pct": 100 * float((best != labels[:, None]).all(axis=1).mean())}
    return {
        "test_error_pct": error,
        **top5,
        "test_loss": float(-log_p[np.arange(len(labels)), labels].mean()),
        "mean_member_test_error_pct": 100 * float((logits.argmax(2) != labels).mean()),
        "members": len(outputs),
    }


def average_outputs(logits: np.ndarray, average: str) -> np.ndarray:
    """Log-probabilities of an ensemble: float64 (members, N, K) -> (N, K).

    `probabilities`: ln mean_m softmax(z_m); `logits`: ln softmax(mean_m z_m).
    """
    if average == "logits":
        return _log_softmax(logits.mean(axis=0))
    log_p = _log_softmax(logits)
    top = log_p.max(axis=0)
    return top + np.log(np.exp(log_p - top).mean(axis=0))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
