"""The training loop of language models: truncated backpropagation through time with the state carried over."""

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gendistill.errors import DivergedError, InterruptedTraining
from gendistill.language.evaluate import perplexity, streams
from gendistill.language.schedule import learning_rate
from gendistill.language.teacher import Teacher
from gendistill.precision import autocast

if TYPE_CHECKING:
    from gendistill.runtime import Runtime

Row = dict[str, float]


def fit(
    network: nn.Module,
    text: dict[str, Tensor],
    objective: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    teacher: Teacher | None,
    recipe: dict[str, Any],
    dropout_key: int,
    resume: dict[str, Any] | None,
    save: Callable[[dict[str, Any]], None],
    runtime: "Runtime",
) -> list[Row]:
    """Train `network` in place by SGD without momentum.

    Args:
        network: on its device.
        text: for `train`, `validation` and `test`: int64, shape (N,), on the device.
        objective: (logits (T * B, V), labels (T * B,), teacher_logits (T * B, V)) -> scalar loss, the mean over positions.
        teacher: gives the soft labels; None for a patriarch.
        recipe: the settings of the recipe group.
        dropout_key: key of the generator that dropout draws from.
        resume: a state that `save` was given, to go on from there.
        save: called with the state to resume from.
        runtime: progress, log, the wish to stop, and how many epochs lie between two saves.

    Returns:
        One row per epoch, from 1: learning rate, mean loss of the epoch (with dropout), and perplexities of the plain
        validation and test text after it.

    Raises:
        DivergedError: the loss or a perplexity was not finite.
        InterruptedTraining: a stop was requested; the state was saved first.
    """
    inputs, targets = streams(text["train"], recipe["batch_size"])
    (length, batch), unrolled = inputs.shape, recipe["unrolled_steps"]
    steps = -(-length // unrolled)
    device, weights = inputs.device, list(network.parameters())
    history: list[Row] = []
    first_epoch, first_step, sums = 0, 0, torch.zeros(2, dtype=torch.float64, device=device)
    if resume:
        network.load_state_dict(resume["network"])
        history, first_epoch, first_step = resume["history"], resume["epoch"], resume["step"]
        sums, state, teacher_state = (_to(device, resume[name]) for name in ("sums", "state", "teacher_state"))
        runtime.log(f"resumed after {first_epoch} epochs and {first_step} steps")
    for epoch in range(first_epoch, recipe["epochs"]):
        started = time.monotonic()
        rate = learning_rate(recipe, [row["validation_perplexity"] for row in history])
        if first_step == 0:
            state, teacher_state = network.initial_state(batch), None
        network.train()
        for step in range(first_step, steps):
            if runtime.stop_requested():
                save(_resume_state(network, history, epoch, step, sums, state, teacher_state))
                raise InterruptedTraining(f"stopped in epoch {epoch + 1} of {recipe['epochs']}, step {step}; saved")
            start = step * unrolled
            tokens, labels = inputs[start : start + unrolled], targets[start : start + unrolled]
            teacher_logits = None
            if teacher:
                teacher_logits, teacher_state = teacher(start, tokens, teacher_state)
            # A generator that starts anew in each step needs no state to resume from.
            torch.manual_seed((dropout_key + epoch * steps + step) % 2**63)
            with autocast(recipe["precision"], device):
                logits, state = network(tokens, state)
            state = tuple(part.detach() for part in state)
            loss = objective(logits.flatten(0, 1), labels.flatten(), teacher_logits)
            minimised = loss * len(tokens) if recipe["loss_sum"] == "time" else loss
            descend(weights, torch.autograd.grad(minimised, weights), rate, recipe["clip_norm"])
            # Summed on the device: reading a value in each step would make a GPU wait.
            sums[0] += loss.detach().double() * labels.numel()
            sums[1] += sums[0].isfinite()
            runtime.progress((epoch * length + min(start + unrolled, length)) * batch, recipe["epochs"] * length * batch)
        loss_sum, finite_steps = sums.tolist()
        if finite_steps < steps:
            raise DivergedError(_divergence(f"the loss is not finite in epoch {epoch + 1}, step {int(finite_steps) + 1}", recipe))
        seconds = time.monotonic() - started
        row: Row = {"epoch": epoch + 1, "learning_rate": rate, "train_loss": loss_sum / (length * batch)}
        for split in ("validation", "test"):
            row[f"{split}_perplexity"] = measure(network, text[split], recipe)
            if not math.isfinite(row[f"{split}_perplexity"]):
                raise DivergedError(
                    _divergence(f"the {split} perplexity is not finite after epoch {epoch + 1}, step {steps}", recipe)
                )
        row["tokens_per_second"] = (length - first_step * unrolled) * batch / seconds
        history.append(row)
        runtime.record(history)
        runtime.log("  ".join(f"{name} {value:.6g}" for name, value in row.items()))
        first_step, sums = 0, torch.zeros_like(sums)
        if (epoch + 1) % runtime.checkpoint_every == 0 and epoch + 1 < recipe["epochs"]:
            save(_resume_state(network, history, epoch + 1, 0, sums, state, None))
    return history


def measure(network: nn.Module, tokens: Tensor, recipe: dict[str, Any]) -> float:
    """Perplexity of a text, int64 (N,), in the way that the recipe says."""
    return perplexity(network, recipe["precision"], tokens, recipe["evaluation_batch_size"], recipe["unrolled_steps"])


@torch.no_grad()
def descend(weights: list[Tensor], gradients: tuple[Tensor, ...], rate: float, clip_norm: float) -> None:
    """One step of SGD, in place; gradients whose norm, all together, is above `clip_norm` are scaled to that norm."""
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]))
    scale = (clip_norm / norm).clamp(max=1)
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.sub_(gradient * scale, alpha=rate)


def _resume_state(
    network: nn.Module, history: list[Row], epoch: int, step: int, sums: Tensor, state: Any, teacher_state: Any
) -> dict[str, Any]:
    return {
        "network": network.state_dict(),
        "history": history,
        "epoch": epoch,
        "step": step,
        "sums": sums,
        "state": state,
        "teacher_state": teacher_state,
    }


def _to(device: torch.device, value: Any) -> Any:
    """A tensor, or each of a tuple of tensors, on a device; None stays None."""
    if value is None:
        return None
    return value.to(device) if isinstance(value, Tensor) else tuple(part.to(device) for part in value)


def _divergence(what: str, recipe: dict[str, Any]) -> str:
    return (
        f"training diverged: {what}. The likely setting is recipe.learning_rate = {recipe['learning_rate']:g} (try a tenth); then "
        f"recipe.clip_norm = {recipe['clip_norm']:g} and recipe.precision = {recipe['precision']} (try float32)."
    )
