"""The training loop: it knows networks and objectives only as functions."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gendistill.batches import micro_batch_size
from gendistill.data.sources import Source
from gendistill.errors import DivergedError, InterruptedTraining
from gendistill.networks.trained import Description, logits_of
from gendistill.softlabels.extent import distilled_epochs
from gendistill.training.descent import as_taken
from gendistill.training.epoch import Epoch
from gendistill.training.fitted import BY_LABELS, Fitted
from gendistill.training.learner import Goal, Learner
from gendistill.training.replay import Replayed
from gendistill.training.schedule import learning_rate
from gendistill.training.teacher import Teacher

if TYPE_CHECKING:
    from gendistill.training.processes import Processes

Row = dict[str, float]
EVALUATION_BATCH = 200
TOP = 5


@dataclass
class Hooks:
    """What the loop tells the world, and asks of it; nothing here changes a result.

    Attributes:
        save: called with the state to resume from, which is the same in all processes.
        stop_requested: whether to save and stop now.
        progress: called after each step with the images done and the images in all.
        log: called with a line of text.
        record: called after each epoch with the rows of all epochs so far.
        checkpoint_every: epochs between two saves.
        cuda_graphs: whether steps are replayed, see `training.replay`.
        processes: those that train the network together, each its share of the micro-batches of every batch.
    """

    save: Callable[[dict[str, Any]], None]
    stop_requested: Callable[[], bool]
    progress: Callable[[int, int], None]
    log: Callable[[str], None]
    record: Callable[[list[Row]], None]
    checkpoint_every: int
    cuda_graphs: bool
    processes: "Processes"


def fit(
    network: nn.Module,
    description: Description,
    splits: dict[str, Source],
    fitted: Fitted,
    teacher: Teacher | None,
    recipe: dict[str, Any],
    keys: dict[str, int],
    resume: dict[str, Any] | None,
    hooks: Hooks,
) -> list[Row]:
    """Train `network` in place.

    Args:
        network: on its device, in the `layout` of its precision. Weights that require no gradient stay as they are.
        description: how its images are normalised and in which precision it runs.
        splits: for `train`, `test` and maybe `validation`.
        fitted: the objective, fitted to the network and its teacher.
        teacher: gives the soft labels of a batch; None for a patriarch.
        recipe: the settings of the recipe group.
        keys: the keys of the generators for `order`, `views`, `dropout`, `objective` and what `data.augment` does.
        resume: a state that `hooks.save` was given, to go on from there.
        hooks: see there.

    Returns:
        One row per epoch, from 1: learning rate, loss (and its terms, where there are several) and error on the views trained
        on, and every `evaluate_every` epochs the loss and error on the plain test and validation images. The last epoch is left
        to the caller to evaluate. The epochs of a first stage come before those of the recipe.

    Raises:
        DivergedError: the loss was not finite.
        InterruptedTraining: a stop was requested, of any of the processes; the state was saved first.
        SettingError: a batch can't be shared out as the recipe says.
    """
    train = splits["train"]
    device, count, batch = train.labels.device, len(train), recipe["batch_size"]
    steps = -(-count // batch)
    processes, size = hooks.processes, micro_batch_size(recipe, hooks.processes.count)
    learner = Learner(network, description, fitted, recipe, train.labels)
    staged = fitted.objective.first_epochs
    epochs = staged + recipe["epochs"]
    last_distilled = staged + distilled_epochs(fitted.objective.distil_until, recipe["epochs"])
    history: list[Row] = []
    first_epoch, first_step = 0, 0
    if resume:
        learner.go_on(resume)
        history, first_epoch, first_step = resume["history"], resume["epoch"], resume["step"]
        learner.sums.copy_(resume["sums"])
        # What was summed up before is counted once; all have counted the same steps.
        if processes.rank:
            learner.sums[:2] = learner.sums[3:] = 0
        hooks.log(f"resumed after {first_epoch} epochs and {first_step} steps")

    def all_sums() -> Tensor:
        """The sums over all processes; finite steps are those that were finite in all."""
        found = processes.gather(learner.sums[None].cpu())
        total = found.sum(0)
        total[2] = found[:, 2].amin()
        return total

    def rate_at(epoch: int, step: float) -> float:
        """The learning rate of a step; in a first stage, that which the recipe begins with."""
        if epoch < staged:
            return learning_rate(recipe, 0, 0.0)
        return learning_rate(recipe, epoch - staged, (epoch - staged + step / steps) / recipe["epochs"])

    def save(epoch: int, step: int) -> None:
        hooks.save({**learner.state(), "history": history, "epoch": epoch, "step": step, "sums": all_sums()})

    recorded, replayed = None, None
    for epoch in range(first_epoch, epochs):
        started = time.monotonic()
        first = epoch < staged
        if epoch == staged and first_step == 0:
            # Each stage has an optimizer of its own.
            learner.momenta = [None] * len(learner.weights)
        distils = epoch < last_distilled
        asked = fitted if distils else BY_LABELS
        shown = Epoch(train, teacher if distils else None, recipe, keys, epoch, description, size, processes, first_step)
        rates = as_taken([rate_at(epoch, step) for step in range(steps)], recipe, device)
        if hooks.cuda_graphs and recorded != (first, distils):
            recorded, replayed = (first, distils), Replayed(partial(learner.whole_step, goal=Goal(asked, first)), batch)
        learner.modules.train()
        for step in range(first_step, steps):
            if processes.any(hooks.stop_requested()):
                save(epoch, step)
                raise InterruptedTraining(f"stopped in epoch {epoch + 1} of {epochs}, step {step}; saved")
            images = min(batch, count - step * batch)
            divided = images > size or processes.count > 1
            if replayed:
                replayed(*shown.batches(step), rates[step])
            else:
                goal = Goal(asked, first, epoch, keys["objective"], keys["objective"] + epoch * steps + step)
                learner.step(shown.batches(step), images, rates[step], goal, divided, processes)
            hooks.progress(epoch * count + step * batch + images, epochs * count)
        loss_sum, errors, finite_steps, *of_terms = all_sums().tolist()
        if finite_steps < steps:
            rate = rate_at(epoch, finite_steps)
            raise DivergedError(_divergence_message(f"{epoch + 1} of {epochs}", int(finite_steps) + 1, rate, recipe))
        seconds = time.monotonic() - started
        row: Row = {
            "epoch": epoch + 1,
            "learning_rate": rate_at(epoch, steps - 1),
            "train_loss": loss_sum / count,
            "train_error_pct": 100 * errors / count,
        }
        shown_terms = asked.terms[0 if first else 1]
        if len(shown_terms) > 1:
            row |= {f"train_loss_{name}": of_terms[learner.names.index(name)] / count for name in shown_terms}
        if (epoch + 1) % recipe["evaluate_every"] == 0 and epoch + 1 < epochs:
            for split in (name for name in splits if name != "train"):
                row |= evaluate(split, predict(network, description, splits[split], processes), splits[split].labels)
        row["images_per_second"] = (count - first_step * batch) / seconds
        history.append(row)
        hooks.record(history)
        hooks.log("  ".join(f"{name} {value:.6g}" for name, value in row.items()))
        first_step = 0
        learner.sums.zero_()
        if (epoch + 1) % hooks.checkpoint_every == 0 and epoch + 1 < epochs:
            save(epoch + 1, 0)
    return history


def predict(network: nn.Module, description: Description, source: Source, processes: "Processes") -> Tensor:
    """Logits of the plain images of a split in eval mode: float32 (N, K), on the CPU, the same in all processes."""
    network.eval()
    # Whole batches for each process, so that their bits are those that one process computes.
    batches = -(-len(source) // EVALUATION_BATCH)
    first, last = (EVALUATION_BATCH * (batches * rank // processes.count) for rank in (processes.rank, processes.rank + 1))
    logits = [logits_of(network, description, pixels).cpu() for pixels in source.plain(EVALUATION_BATCH, slice(first, last))]
    return processes.gather(torch.cat([torch.empty(0, description.classes), *logits]))


def evaluate(split: str, logits: Tensor, labels: Tensor) -> Row:
    """Mean cross-entropy in nats, error and, where there are more than 5 classes, top-5 error in percent.

    logits: float (N, K); labels: int64 (N,).
    """
    labels = labels.cpu()
    wrong = logits.argmax(1) != labels
    row = {
        f"{split}_loss": nn.functional.cross_entropy(logits.double(), labels).item(),
        f"{split}_error_pct": 100 * wrong.double().mean().item(),
    }
    if logits.shape[1] > TOP:
        found = (logits.topk(TOP, dim=1).indices == labels[:, None]).any(dim=1)
        row[f"{split}_top{TOP}_error_pct"] = 100 * (~found).double().mean().item()
    return row


def _divergence_message(epoch: str, step: int, rate: float, recipe: dict[str, Any]) -> str:
    return (
        f"training diverged: the loss is not finite in epoch {epoch}, step {step}, at rate {rate:g}. "
        f"The likely setting is recipe.learning_rate = {recipe['learning_rate']:g} (try a tenth); then objective.temperature and "
        f"recipe.precision = {recipe['precision']} (try float32)."
    )
