"""In how many parts a batch goes through a network."""

from typing import Any

from gendistill.errors import SettingError


def micro_batch_size(recipe: dict[str, Any], processes: int) -> int:
    """The images in a micro-batch: `recipe.micro_batch`, but no more than a batch; null is the whole batch.

    What is computed from several images at once, such as the statistics of batch norm, is computed within a micro-batch, so
    a result does not depend on the number of processes, nor on how many micro-batches a process computes.

    Raises:
        SettingError: a batch is no whole number of micro-batches, or has fewer of them than there are processes.
    """
    batch = recipe["batch_size"]
    size = min(recipe.get("micro_batch") or batch, batch)
    if batch % size:
        raise SettingError(
            f"recipe.micro_batch = {size}: recipe.batch_size = {batch} must be a multiple of it. Set one of the two in the recipe."
        )
    if batch < processes:
        raise SettingError(f"runtime.processes = {processes}: a batch has {batch} images. Set it to {batch} or less.")
    if batch // size < processes:
        fitting = max(n for n in range(1, batch // processes + 1) if batch % n == 0)
        raise SettingError(
            f"recipe.micro_batch = {recipe.get('micro_batch')}: a batch of recipe.batch_size = {batch} is {batch // size} of them, "
            f"too few for runtime.processes = {processes}. Set recipe.micro_batch to {fitting} or less (batch norm then takes its "
            f"statistics over as many images), or runtime.processes to {batch // size}."
        )
    return size
