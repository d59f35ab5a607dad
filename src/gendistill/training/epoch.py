"""One epoch: in which order the images come, what each shows, and what the teacher says of it."""

from collections.abc import Iterator
from typing import Any

import torch

from gendistill.data.augment import augmentation
from gendistill.data.sources import Source
from gendistill.data.views import draw_order
from gendistill.networks.trained import Description
from gendistill.training.learner import Batch
from gendistill.training.micro_batches import share_out
from gendistill.training.processes import Processes
from gendistill.training.teacher import Teacher


class Epoch:
    """The batches of an epoch, from its step `first_step` on, as far as this process takes them.

    Args:
        train: the images to learn from.
        teacher: gives soft labels; None where labels are all.
        recipe: the settings of the recipe group.
        keys: of the generators for `order`, `views`, `dropout` and what `data.augment` does.
        number: of the epoch, from 0.
        description: of the network.
        size: of a micro-batch.
        processes: that train together.
        first_step: the first that is still to do.

    Attributes:
        shares: for each step its micro-batches that this process takes: their numbers, and where they lie in the order.
    """

    def __init__(
        self,
        train: Source,
        teacher: Teacher | None,
        recipe: dict[str, Any],
        keys: dict[str, int],
        number: int,
        description: Description,
        size: int,
        processes: Processes,
        first_step: int,
    ) -> None:
        self.labels, self.teacher, self.dropout_key, self.number = train.labels, teacher, keys["dropout"], number
        count, batch, device = len(train), recipe["batch_size"], train.labels.device
        # On the CPU too, where the stored labels are: a copy from the device in each step would make a GPU wait.
        self.order_here = torch.from_numpy(draw_order(keys["order"], number, count))
        self.views_here = torch.from_numpy(train.draw_views(keys["views"], number))
        self.order = self.order_here.to(device)
        places = [(begin, min(begin + batch, count)) for begin in range(0, count, batch)]
        self.shares = [share_out(begin, end, size, processes.rank, processes.count) for begin, end in places]
        own = torch.cat([self.order[:0], *(self.order[part] for share in self.shares[first_step:] for _, part in share)])
        self.pixels = train.batches(own, self.views_here.to(device), size)
        self.augment = augmentation(recipe, keys, number, count, description.shape, description.mean)

    def batches(self, step: int) -> Iterator[Batch]:
        """The micro-batches of a step that this process takes; steps come one after the other."""
        for number, part in self.shares[step]:
            index, shown = self.order[part], self.order_here[part]
            labels = self.labels[index]
            pixels, partners, share = self.augment(next(self.pixels), shown, step, number)
            taught = self.teacher(shown, self.views_here[shown], pixels, labels) if self.teacher else (None, {}, None)
            # A generator that starts anew in each micro-batch needs no state to resume from.
            torch.manual_seed((self.dropout_key + self.number * len(self.shares) + step + (number << 40)) % 2**63)
            yield Batch(pixels, labels, index, *taught, partners, share)
