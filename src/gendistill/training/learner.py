"""A network that learns: what one batch does to it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gendistill.data.augment import over_both
from gendistill.errors import SettingError
from gendistill.networks.joint import Joint
from gendistill.networks.trained import Description
from gendistill.precision import autocast
from gendistill.training.descent import descend
from gendistill.training.fitted import BY_LABELS, Fitted, look
from gendistill.training.micro_batches import Buffers, Gradients
from gendistill.training.processes import Processes


class Batch(NamedTuple):
    """What a network is shown in one pass, a batch or a micro-batch, and what its loss is told of it.

    Attributes:
        pixels: uint8 or float32 (B, C, H, W), on the device, as all tensors here.
        labels: int64 (B,).
        images: their positions in the training set, int64 (B,).
        teacher_logits: float32 (B, K), or None.
        teacher_seen: what the teacher's tapped layers put out, by path.
        teacher_input_gradient: float32 (B, C, H, W), or None.
        partners: the images that each was mixed with, int64 (B,), or None.
        share: of the image itself where it was mixed.
    """

    pixels: Tensor
    labels: Tensor
    images: Tensor
    teacher_logits: Tensor | None
    teacher_seen: dict[str, Tensor]
    teacher_input_gradient: Tensor | None
    partners: Tensor | None
    share: float


@dataclass(frozen=True)
class Goal:
    """What a step minimises.

    Attributes:
        fitted: the objective.
        first: whether this is its first stage.
        epoch: from 0, for methods that ask for it.
        key: of the training, for methods that ask for it.
        step_key: of the step, for what a joint network draws.
    """

    fitted: Fitted
    first: bool
    epoch: int = 0
    key: int = 0
    step_key: int = 0


class Learner:
    """A network in training with all that changes with it.

    Attributes:
        network: that learns.
        parts: weights of the objective's own, which are trained with the network, and left behind.
        modules: both.
        weights: of both, that require a gradient.
        momenta: one for each weight; None where no loss has reached it yet.
        names: of the terms that the loss has at any time.
        device, images: where it is trained, and on how many.
        sums: over an epoch, float64: of loss, errors, finite steps and of each term of the loss. On the device: reading a value in
            each step would make a GPU wait.
    """

    def __init__(
        self, network: nn.Module, description: Description, fitted: Fitted, recipe: dict[str, Any], labels: Tensor
    ) -> None:
        self.network, self.description, self.recipe = network, description, recipe
        self.device, self.images = labels.device, len(labels)
        self.parts = fitted.parts()
        self.modules = nn.ModuleList([network, self.parts])
        self.weights = [weight for weight in self.modules.parameters() if weight.requires_grad]
        self.momenta: list[Tensor | None] = [None] * len(self.weights)
        self.names = sorted({*fitted.terms[0], *fitted.terms[1], *BY_LABELS.terms[1]})
        self.sums = torch.zeros(3 + len(self.names), dtype=torch.float64, device=self.device)

    def state(self) -> dict[str, Any]:
        """What a training that goes on later needs of it, besides the sums."""
        return {"network": self.network.state_dict(), "parts": self.parts.state_dict(), "momenta": self.momenta}

    def go_on(self, state: dict[str, Any]) -> None:
        """Be as when `state` was taken."""
        self.network.load_state_dict(state["network"])
        self.parts.load_state_dict(state["parts"])
        self.momenta = [momentum if momentum is None else momentum.to(self.device) for momentum in state["momenta"]]

    def step(
        self, batches: Iterable[Batch], images: int, rate: Tensor | float, goal: Goal, divided: bool, processes: Processes
    ) -> None:
        """One step by a batch of so many images, in as many passes as it is divided into.

        Args:
            batches: the micro-batches that this process takes.
            images: of the whole batch.
            rate: the learning rate, as `descend` takes it.
            goal: what is minimised.
            divided: whether there are other micro-batches than one of this process.
            processes: that train together.

        Raises:
            SettingError: there are too few images for batch norm.
        """
        gradients = Gradients(self.weights)
        buffers = Buffers(self.modules) if divided else None
        for batch in batches:
            self._take(batch, len(batch.labels) / images, gradients, goal)
            if buffers:
                buffers.take(len(batch.labels))
        if buffers:
            # A loss may leave an objective's own weights alone, or those of a joint network, and in a first stage any.
            all_reached = not (goal.first or len(self.parts) or isinstance(self.network, Joint))
            gradients.add_up(processes, buffers.totals, all_reached)
            buffers.finish(images)
        self._descend(gradients, rate)

    def whole_step(self, batch: Batch, rate: Tensor, goal: Goal) -> None:
        """The same by a batch in one pass, by one process; all that changes from step to step are the tensors that it is given."""
        gradients = Gradients(self.weights)
        self._take(batch, 1.0, gradients, goal)
        self._descend(gradients, rate)

    def _take(self, batch: Batch, part: float, gradients: Gradients, goal: Goal) -> None:
        """Add a batch's part of the gradients, and count its loss and errors."""
        labels, partners, share = batch.labels, batch.partners, batch.share
        with self._large_enough(len(labels)):
            with autocast(self.description.precision, self.device):
                logits, given = look(self.network, goal.fitted, self.description.normalise(batch.pixels), goal.step_key)
            given |= {"seen": (given["seen"], batch.teacher_seen), "teacher_input_gradient": batch.teacher_input_gradient}
            given |= {"images": batch.images, "epoch": goal.epoch, "key": goal.key}
            terms = goal.fitted.loss(logits.float(), labels, batch.teacher_logits, given, goal.first)
            if partners is not None:
                others = goal.fitted.loss(logits.float(), labels[partners], batch.teacher_logits, given, goal.first)
                terms = {name: share * value + (1 - share) * others[name] for name, value in terms.items()}
        loss = sum(terms.values())
        gradients.take(loss * part)
        with torch.no_grad():
            wrong = over_both(logits.argmax(1).ne, labels, partners, share).sum()
            self.sums[:2] += torch.stack([loss.double() * len(labels), wrong.double()])
            for name, value in terms.items() if len(terms) > 1 else ():
                self.sums[3 + self.names.index(name)] += value.double() * len(labels)

    def _descend(self, gradients: Gradients, rate: Tensor | float) -> None:
        descend(self.weights, gradients, self.momenta, rate, self.recipe)
        self.sums[2] += self.sums[0].isfinite()

    @contextmanager
    def _large_enough(self, images: int) -> Iterator[None]:
        """Tell which setting makes a batch so small that batch norm, which needs more than one value of a channel, refuses it."""
        try:
            yield
        except ValueError as error:
            name = "micro_batch" if self.recipe.get("micro_batch") else "batch_size"
            raise SettingError(
                f"recipe.{name} = {self.recipe[name]}: a batch of {images} cannot be trained on ({error}). "
                f"Set another one, so that the last batch of {self.images} images is larger."
            ) from error
