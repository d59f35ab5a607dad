"""The training loop: it knows networks and objectives only as functions."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gendistill.batches import micro_batch_size
from gendistill.data.augment import augmentation, over_both
from gendistill.data.sources import Source
from gendistill.data.views import draw_order
from gendistill.errors import DivergedError, InterruptedTraining, SettingError
from gendistill.networks.joint import Joint
from gendistill.networks.trained import Description, logits_of
from gendistill.precision import autocast
from gendistill.softlabels.extent import distilled_epochs
from gendistill.training.descent import descend
from gendistill.training.fitted import BY_LABELS, Fitted, look
from gendistill.training.micro_batches import Buffers, Gradients, share_out
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
        processes: those that train the network together, each its share of the micro-batches of every batch.
    """

    save: Callable[[dict[str, Any]], None]
    stop_requested: Callable[[], bool]
    progress: Callable[[int, int], None]
    log: Callable[[str], None]
    record: Callable[[list[Row]], None]
    checkpoint_every: int
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
    labels, device, count, batch = train.labels, train.labels.device, len(train), recipe["batch_size"]
    steps = -(-count // batch)
    processes, size = hooks.processes, micro_batch_size(recipe, hooks.processes.count)
    parts = fitted.parts()
    # An objective's own weights are trained with the network, and left behind.
    everything = nn.ModuleList([network, parts])
    weights = [weight for weight in everything.parameters() if weight.requires_grad]
    momenta: list[Tensor | None] = [None] * len(weights)
    staged = fitted.objective.first_epochs
    epochs = staged + recipe["epochs"]
    last_distilled = staged + distilled_epochs(fitted.objective.distil_until, recipe["epochs"])
    names = sorted({*fitted.terms[0], *fitted.terms[1], *BY_LABELS.terms[1]})
    history: list[Row] = []
    # The sums of loss, errors, finite steps and of each term of the loss.
    first_epoch, first_step, sums = 0, 0, torch.zeros(3 + len(names), dtype=torch.float64, device=device)
    if resume:
        network.load_state_dict(resume["network"])
        parts.load_state_dict(resume["parts"])
        momenta = [momentum if momentum is None else momentum.to(device) for momentum in resume["momenta"]]
        history, first_epoch, first_step = resume["history"], resume["epoch"], resume["step"]
        sums = resume["sums"].to(device)
        # What was summed up before is counted once; all have counted the same steps.
        if processes.rank:
            sums = torch.zeros_like(sums).index_copy(0, torch.tensor([2], device=device), sums[2:3])
        hooks.log(f"resumed after {first_epoch} epochs and {first_step} steps")

    def all_sums() -> Tensor:
        """The sums over all processes; finite steps are those that were finite in all."""
        found = processes.gather(sums[None].cpu())
        total = found.sum(0)
        total[2] = found[:, 2].amin()
        return total

    def rate_at(epoch: int, step: float) -> float:
        """The learning rate of a step; in a first stage, that which the recipe begins with."""
        if epoch < staged:
            return learning_rate(recipe, 0, 0.0)
        return learning_rate(recipe, epoch - staged, (epoch - staged + step / steps) / recipe["epochs"])

    def save(epoch: int, step: int) -> None:
        hooks.save(
            {
                "network": network.state_dict(),
                "parts": parts.state_dict(),
                "momenta": momenta,
                "history": history,
                "epoch": epoch,
                "step": step,
                "sums": all_sums(),
            }
        )

    for epoch in range(first_epoch, epochs):
        started = time.monotonic()
        first = epoch < staged
        if epoch == staged and first_step == 0:
            # Each stage has an optimizer of its own.
            momenta = [None] * len(weights)
        # On the CPU too, where the stored labels are: a copy from the device in each step would make a GPU wait.
        order_here = torch.from_numpy(draw_order(keys["order"], epoch, count))
        views_here = torch.from_numpy(train.draw_views(keys["views"], epoch))
        order, views = order_here.to(device), views_here.to(device)
        asked = fitted if epoch < last_distilled else BY_LABELS
        distils = teacher is not None and asked is fitted
        everything.train()
        places = [(step * batch, min((step + 1) * batch, count)) for step in range(steps)]
        shares = [share_out(begin, end, size, processes.rank, processes.count) for begin, end in places]
        own = torch.cat([order[:0], *(order[part] for share in shares[first_step:] for _, part in share)])
        batches = train.batches(own, views, size)
        augment = augmentation(recipe, keys, epoch, count, description.shape, description.mean)
        for step in range(first_step, steps):
            if processes.any(hooks.stop_requested()):
                save(epoch, step)
                raise InterruptedTraining(f"stopped in epoch {epoch + 1} of {epochs}, step {step}; saved")
            begin, end = places[step]
            rate = rate_at(epoch, step)
            divided = end - begin > size or processes.count > 1
            buffers = Buffers(everything) if divided else None
            gradients = Gradients(weights)
            for number, part in shares[step]:
                pixels, index = next(batches), order[part]
                pixels, partners, share = augment(pixels, order_here[part], step, number)
                # A generator that starts anew in each micro-batch needs no state to resume from.
                torch.manual_seed((keys["dropout"] + epoch * steps + step + (number << 40)) % 2**63)
                teacher_logits, teacher_seen, gradient = None, {}, None
                if distils:
                    shown = order_here[part]
                    teacher_logits, teacher_seen, gradient = teacher(shown, views_here[shown], pixels, labels[index])
                with _large_enough(len(index), recipe, count):
                    with autocast(description.precision, device):
                        key = keys["objective"] + epoch * steps + step
                        logits, given = look(network, asked, description.normalise(pixels), key)
                    given |= {"seen": (given["seen"], teacher_seen), "teacher_input_gradient": gradient}
                    given |= {"images": index, "epoch": epoch, "key": keys["objective"]}
                    terms = asked.loss(logits.float(), labels[index], teacher_logits, given, first)
                    if partners is not None:
                        others = asked.loss(logits.float(), labels[index][partners], teacher_logits, given, first)
                        terms = {name: share * value + (1 - share) * others[name] for name, value in terms.items()}
                loss = sum(terms.values())
                gradients.take(loss * (len(index) / (end - begin)))
                with torch.no_grad():
                    # Summed on the device: reading a value in each step would make a GPU wait.
                    wrong = over_both(logits.argmax(1).ne, labels[index], partners, share).sum()
                    sums[:2] += torch.stack([loss.double() * len(index), wrong.double()])
                    for name, value in terms.items() if len(terms) > 1 else ():
                        sums[3 + names.index(name)] += value.double() * len(index)
                    if buffers:
                        buffers.take(len(index))
            if buffers:
                gradients.add_up(processes, buffers.totals, all_reached=not (first or len(parts) or isinstance(network, Joint)))
                buffers.finish(end - begin)
            descend(weights, gradients, momenta, rate, recipe)
            sums[2] += sums[0].isfinite()
            hooks.progress(epoch * count + end, epochs * count)
        loss_sum, errors, finite_steps, *of_terms = all_sums().tolist()
        if finite_steps < steps:
            rate = rate_at(epoch, finite_steps)
            raise DivergedError(_divergence_message(f"{epoch + 1} of {epochs}", int(finite_steps) + 1, rate, recipe))
        seconds = time.monotonic() - started
        row: Row = {
            "epoch": epoch + 1,
            "learning_rate": rate,
            "train_loss": loss_sum / count,
            "train_error_pct": 100 * errors / count,
        }
        shown_terms = asked.terms[0 if first else 1]
        if len(shown_terms) > 1:
            row |= {f"train_loss_{name}": of_terms[names.index(name)] / count for name in shown_terms}
        if (epoch + 1) % recipe["evaluate_every"] == 0 and epoch + 1 < epochs:
            for split in (name for name in splits if name != "train"):
                row |= evaluate(split, predict(network, description, splits[split], processes), splits[split].labels)
        row["images_per_second"] = (count - first_step * batch) / seconds
        history.append(row)
        hooks.record(history)
        hooks.log("  ".join(f"{name} {value:.6g}" for name, value in row.items()))
        first_step, sums = 0, torch.zeros_like(sums)
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


@contextmanager
def _large_enough(images: int, recipe: dict[str, Any], count: int) -> Iterator[None]:
    """Tell which setting makes a batch so small that batch norm, which needs more than one value of a channel, refuses it."""
    try:
        yield
    except ValueError as error:
        name = "micro_batch" if recipe.get("micro_batch") else "batch_size"
        raise SettingError(
            f"recipe.{name} = {recipe[name]}: a batch of {images} cannot be trained on ({error}). "
            f"Set another one, so that the last batch of {count} images is larger."
        ) from error
