"""The training loop: it knows networks and objectives only as functions."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from gendistill.data.views import ViewSpace, draw_order, draw_views
from gendistill.errors import DivergedError, InterruptedTraining, SettingError
from gendistill.networks.trained import Description, in_batches, logits_of
from gendistill.precision import autocast
from gendistill.training.schedule import learning_rate
from gendistill.training.teacher import Teacher

Row = dict[str, float]


@dataclass
class Hooks:
    """What the loop tells the world, and asks of it; nothing here changes a result.

    Attributes:
        save: called with the state to resume from.
        stop_requested: whether to save and stop now.
        progress: called after each step with the images done and the images in all.
        log: called with a line of text.
        checkpoint_every: epochs between two saves.
    """

    save: Callable[[dict[str, Any]], None]
    stop_requested: Callable[[], bool]
    progress: Callable[[int, int], None]
    log: Callable[[str], None]
    checkpoint_every: int


def fit(
    network: nn.Module,
    description: Description,
    splits: dict[str, tuple[Tensor, Tensor]],
    objective: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    teacher: Teacher | None,
    recipe: dict[str, Any],
    keys: dict[str, int],
    resume: dict[str, Any] | None,
    hooks: Hooks,
) -> list[Row]:
    """Train `network` in place.

    Args:
        network: on its device, in channels_last layout.
        description: how its images are normalised and in which precision it runs.
        splits: for `train`, `test` and maybe `validation`: images, uint8 (N, C, H, W), and labels, int64 (N,), on the device.
        objective: (logits, labels, teacher_logits) -> scalar loss.
        teacher: gives the soft labels of a batch; None for a patriarch.
        recipe: the settings of the recipe group.
        keys: the keys of the generators that draw `order` and `views`.
        resume: a state that `hooks.save` was given, to go on from there.
        hooks: see there.

    Returns:
        One row per epoch, from 1: learning rate, loss and error on the views trained on, and every `evaluate_every` epochs
        the loss and error on the plain test and validation images. The last epoch is left to the caller to evaluate.

    Raises:
        DivergedError: the loss was not finite.
        InterruptedTraining: a stop was requested; the state was saved first.
    """
    images, labels = splits["train"]
    device, count, batch = images.device, len(images), recipe["batch_size"]
    space = ViewSpace(recipe["pad"], recipe["flip"])
    windows = space.windows(images)
    steps = -(-count // batch)
    weights = list(network.parameters())
    momenta: list[Tensor | None] = [None] * len(weights)
    history: list[Row] = []
    first_epoch, first_step, sums = 0, 0, torch.zeros(3, dtype=torch.float64, device=device)
    if resume:
        network.load_state_dict(resume["network"])
        momenta = [momentum.to(device) for momentum in resume["momenta"]] or momenta
        torch.set_rng_state(resume["generator"])
        history, first_epoch, first_step = resume["history"], resume["epoch"], resume["step"]
        sums = resume["sums"].to(device)
        hooks.log(f"resumed after {first_epoch} epochs and {first_step} steps")

    def save(epoch: int, step: int) -> None:
        hooks.save(
            {
                "network": network.state_dict(),
                "momenta": [momentum for momentum in momenta if momentum is not None],
                "generator": torch.get_rng_state(),
                "history": history,
                "epoch": epoch,
                "step": step,
                "sums": sums,
            }
        )

    for epoch in range(first_epoch, recipe["epochs"]):
        started = time.monotonic()
        order = torch.from_numpy(draw_order(keys["order"], epoch, count)).to(device)
        views = torch.from_numpy(draw_views(keys["views"], epoch, count, space)).to(device)
        network.train()
        for step in range(first_step, steps):
            if hooks.stop_requested():
                save(epoch, step)
                raise InterruptedTraining(f"stopped in epoch {epoch + 1} of {recipe['epochs']}, step {step}; saved")
            index = order[step * batch : (step + 1) * batch]
            pixels = space.take(windows, index, views[index])
            teacher_logits = teacher(index, views[index], pixels) if teacher else None
            rate = learning_rate(recipe, epoch, (epoch + step / steps) / recipe["epochs"])
            with autocast(description.precision, device):
                try:
                    logits = network(description.normalise(pixels))
                except ValueError as error:
                    raise SettingError(
                        f"recipe.batch_size = {batch}: a batch of {len(index)} cannot be trained on ({error}). "
                        f"Set another one, so that the last batch of {count} images is larger."
                    ) from error
            loss = objective(logits.float(), labels[index], teacher_logits)
            gradients = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                # The function behind torch.optim.SGD, whose class would first import the compiler, which takes a second.
                sgd(
                    weights,
                    list(gradients),
                    momenta,
                    lr=rate,
                    momentum=recipe["momentum"],
                    nesterov=recipe["nesterov"],
                    weight_decay=recipe["weight_decay"],
                    dampening=0.0,
                    maximize=False,
                    fused=True,
                )
                # Summed on the device: reading a value in each step would make a GPU wait.
                wrong = (logits.argmax(1) != labels[index]).sum()
                sums[:2] += torch.stack([loss.double() * len(index), wrong.double()])
                sums[2] += sums[0].isfinite()
            hooks.progress(epoch * count + min((step + 1) * batch, count), recipe["epochs"] * count)
        loss_sum, errors, finite_steps = sums.tolist()
        if finite_steps < steps:
            rate = learning_rate(recipe, epoch, (epoch + finite_steps / steps) / recipe["epochs"])
            raise DivergedError(_divergence_message(epoch + 1, int(finite_steps) + 1, rate, recipe))
        seconds = time.monotonic() - started
        row: Row = {
            "epoch": epoch + 1,
            "learning_rate": rate,
            "train_loss": loss_sum / count,
            "train_error_pct": 100 * errors / count,
        }
        if (epoch + 1) % recipe["evaluate_every"] == 0 and epoch + 1 < recipe["epochs"]:
            for split in (name for name in splits if name != "train"):
                row |= evaluate(split, predict(network, description, splits[split][0]), splits[split][1])
        row["images_per_second"] = (count - first_step * batch) / seconds
        history.append(row)
        hooks.log("  ".join(f"{name} {value:.6g}" for name, value in row.items()))
        first_step, sums = 0, torch.zeros_like(sums)
        if (epoch + 1) % hooks.checkpoint_every == 0 and epoch + 1 < recipe["epochs"]:
            save(epoch + 1, 0)
    return history


def predict(network: nn.Module, description: Description, images: Tensor) -> Tensor:
    """Logits of plain images in eval mode: uint8 (N, C, H, W) -> float32 (N, K), on the CPU."""
    network.eval()
    return in_batches(partial(logits_of, network, description), images, images.device)


def evaluate(split: str, logits: Tensor, labels: Tensor) -> Row:
    """Mean cross-entropy in nats and error in percent of logits (N, K) against labels, int64 (N,)."""
    wrong = logits.argmax(1) != labels.cpu()
    return {
        f"{split}_loss": nn.functional.cross_entropy(logits.double(), labels.cpu()).item(),
        f"{split}_error_pct": 100 * wrong.double().mean().item(),
    }


def _divergence_message(epoch: int, step: int, rate: float, recipe: dict[str, Any]) -> str:
    return (
        f"training diverged: the loss is not finite in epoch {epoch} of {recipe['epochs']}, step {step}, at rate {rate:g}. "
        f"The likely setting is recipe.learning_rate = {recipe['learning_rate']:g} (try a tenth); then objective.temperature and "
        f"recipe.precision = {recipe['precision']} (try float32)."
    )
