"""The training loop: it knows networks and objectives only as functions."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from gendistill.batches import micro_batch_size
from gendistill.data.sources import Source
from gendistill.data.views import draw_order
from gendistill.errors import DivergedError, InterruptedTraining, SettingError
from gendistill.networks.trained import Description, forward_with_maps, logits_of
from gendistill.precision import REFERENCE, autocast
from gendistill.softlabels.extent import distilled_epochs
from gendistill.training.micro_batches import Buffers, share_out
from gendistill.training.schedule import learning_rate
from gendistill.training.teacher import Teacher

if TYPE_CHECKING:
    from gendistill.training.processes import Processes

Row = dict[str, float]
EVALUATION_BATCH = 200
TOP = 5


@dataclass(frozen=True)
class Objective:
    """What a network minimises.

    Attributes:
        loss: (logits, labels, teacher_logits, **what it needs) -> scalar.
        needs: what else `loss` takes: `maps`, `teacher_maps`, `images`, `epoch`, `key`.
        distil_until: share of the epochs after which plain cross-entropy with the labels takes its place.
    """

    loss: Callable[..., Tensor]
    needs: tuple[str, ...] = ()
    distil_until: float = 1.0


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
    objective: Objective,
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
        objective: see there.
        teacher: gives the soft labels of a batch; None for a patriarch.
        recipe: the settings of the recipe group.
        keys: the keys of the generators for `order`, `views`, `dropout` and `objective`.
        resume: a state that `hooks.save` was given, to go on from there.
        hooks: see there.

    Returns:
        One row per epoch, from 1: learning rate, loss and error on the views trained on, and every `evaluate_every` epochs
        the loss and error on the plain test and validation images. The last epoch is left to the caller to evaluate.

    Raises:
        DivergedError: the loss was not finite.
        InterruptedTraining: a stop was requested, of any of the processes; the state was saved first.
        SettingError: a batch can't be shared out as the recipe says.
    """
    train = splits["train"]
    labels, device, count, batch = train.labels, train.labels.device, len(train), recipe["batch_size"]
    steps = -(-count // batch)
    processes, size = hooks.processes, micro_batch_size(recipe, hooks.processes.count)
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    momenta: list[Tensor | None] = [None] * len(weights)
    last_distilled = distilled_epochs(objective.distil_until, recipe["epochs"])
    history: list[Row] = []
    first_epoch, first_step, sums = 0, 0, torch.zeros(3, dtype=torch.float64, device=device)
    if resume:
        network.load_state_dict(resume["network"])
        momenta = [momentum.to(device) for momentum in resume["momenta"]] or momenta
        history, first_epoch, first_step = resume["history"], resume["epoch"], resume["step"]
        sums = resume["sums"].to(device)
        # What was summed up before is counted once; all have counted the same steps.
        sums[:2] *= processes.rank == 0
        hooks.log(f"resumed after {first_epoch} epochs and {first_step} steps")

    def all_sums() -> Tensor:
        """The sums over all processes; finite steps are those that were finite in all."""
        found = processes.gather(sums[None].cpu())
        return torch.cat([found[:, :2].sum(0), found[:, 2].amin(0, keepdim=True)])

    def save(epoch: int, step: int) -> None:
        hooks.save(
            {
                "network": network.state_dict(),
                "momenta": [momentum for momentum in momenta if momentum is not None],
                "history": history,
                "epoch": epoch,
                "step": step,
                "sums": all_sums(),
            }
        )

    for epoch in range(first_epoch, recipe["epochs"]):
        started = time.monotonic()
        # On the CPU too, where the stored labels are: a copy from the device in each step would make a GPU wait.
        order_here = torch.from_numpy(draw_order(keys["order"], epoch, count))
        views_here = torch.from_numpy(train.draw_views(keys["views"], epoch))
        order, views = order_here.to(device), views_here.to(device)
        distils = teacher is not None and epoch < last_distilled
        network.train()
        places = [(step * batch, min((step + 1) * batch, count)) for step in range(steps)]
        shares = [share_out(first, last, size, processes.rank, processes.count) for first, last in places]
        own = torch.cat([order[:0], *(order[part] for share in shares[first_step:] for _, part in share)])
        batches = train.batches(own, views, size)
        for step in range(first_step, steps):
            if processes.any(hooks.stop_requested()):
                save(epoch, step)
                raise InterruptedTraining(f"stopped in epoch {epoch + 1} of {recipe['epochs']}, step {step}; saved")
            first, last = places[step]
            rate = learning_rate(recipe, epoch, (epoch + step / steps) / recipe["epochs"])
            divided = last - first > size or processes.count > 1
            buffers = Buffers(network) if divided else None
            gradients = [torch.zeros_like(weight) for weight in weights] if divided else []
            for number, part in shares[step]:
                pixels, index = next(batches), order[part]
                # A generator that starts anew in each micro-batch needs no state to resume from.
                torch.manual_seed((keys["dropout"] + epoch * steps + step + (number << 40)) % 2**63)
                given: dict[str, Any] = {"images": index, "epoch": epoch, "key": keys["objective"]}
                teacher_logits = None
                if distils:
                    shown = order_here[part]
                    teacher_logits, given["teacher_maps"] = teacher(shown, views_here[shown], pixels)
                with autocast(description.precision, device):
                    try:
                        if "maps" in objective.needs:
                            logits, maps = forward_with_maps(network, description.normalise(pixels))
                            given["maps"] = [map.float() for map in maps]
                        else:
                            logits = network(description.normalise(pixels))
                    except ValueError as error:
                        raise SettingError(
                            f"{_named(recipe)}: a batch of {len(index)} cannot be trained on ({error}). "
                            f"Set another one, so that the last batch of {count} images is larger."
                        ) from error
                if teacher is None or distils:
                    extra = {name: given[name] for name in objective.needs}
                    loss = objective.loss(logits.float(), labels[index], teacher_logits, **extra)
                else:
                    loss = nn.functional.cross_entropy(logits.float(), labels[index])
                found = torch.autograd.grad(loss * (len(index) / (last - first)), weights)
                gradients = torch._foreach_add(gradients, found) if divided else list(found)
                with torch.no_grad():
                    # Summed on the device: reading a value in each step would make a GPU wait.
                    wrong = (logits.argmax(1) != labels[index]).sum()
                    sums[:2] += torch.stack([loss.double() * len(index), wrong.double()])
                    if buffers:
                        buffers.take(len(index))
            if buffers:
                processes.add_up([*gradients, *buffers.totals])
                buffers.finish(last - first)
            with torch.no_grad():
                # The function behind torch.optim.SGD, whose class would first import the compiler, which takes a second.
                sgd(
                    weights,
                    gradients,
                    momenta,
                    lr=rate,
                    momentum=recipe["momentum"],
                    nesterov=recipe["nesterov"],
                    weight_decay=recipe["weight_decay"],
                    dampening=0.0,
                    maximize=False,
                    fused=recipe["precision"] != REFERENCE,
                )
                sums[2] += sums[0].isfinite()
            hooks.progress(epoch * count + last, recipe["epochs"] * count)
        loss_sum, errors, finite_steps = all_sums().tolist()
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
                row |= evaluate(split, predict(network, description, splits[split], processes), splits[split].labels)
        row["images_per_second"] = (count - first_step * batch) / seconds
        history.append(row)
        hooks.record(history)
        hooks.log("  ".join(f"{name} {value:.6g}" for name, value in row.items()))
        first_step, sums = 0, torch.zeros_like(sums)
        if (epoch + 1) % hooks.checkpoint_every == 0 and epoch + 1 < recipe["epochs"]:
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


def _divergence_message(epoch: int, step: int, rate: float, recipe: dict[str, Any]) -> str:
    return (
        f"training diverged: the loss is not finite in epoch {epoch} of {recipe['epochs']}, step {step}, at rate {rate:g}. "
        f"The likely setting is recipe.learning_rate = {recipe['learning_rate']:g} (try a tenth); then objective.temperature and "
        f"recipe.precision = {recipe['precision']} (try float32)."
    )


def _named(recipe: dict[str, Any]) -> str:
    """The setting that says how many images a network is shown at once."""
    name = "micro_batch" if recipe.get("micro_batch") else "batch_size"
    return f"recipe.{name} = {recipe[name]}"
