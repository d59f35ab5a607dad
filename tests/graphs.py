"""A stand-in for CUDA graphs where there is no GPU.

It writes down the operations of one call with the very tensors that they read and wrote, and then does only these again. Whatever
else a step reads, such as a Python number, stays as it was.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# What a GPU would be waited for, or be given by a CPU that waits; copies between the two can't be told where there is only one.
WAITS = [
    "_local_scalar_dense",
    "lift_fresh",
    "nonzero",
    "is_nonzero",
    "equal",
    "masked_select",
    "_unique",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "bincount",
    "repeat_interleave",
]


class Recorder(TorchDispatchMode):
    """The operations of what runs inside.

    Raises:
        RuntimeError: one that can't be recorded, as CUDA does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function._schema.name.removeprefix("aten::")
        by_mask = name.startswith("index") and any(
            isinstance(each, torch.Tensor) and each.dtype == torch.bool for each in _each(args)
        )
        if name in WAITS or by_mask:
            raise RuntimeError(f"operation not permitted when stream is capturing: {function}")
        found = function(*args, **(kwargs or {}))
        self.calls.append((function, args, kwargs or {}, found))
        return found


def recorder(replays: list[int]) -> Callable[[Callable[[], Any]], tuple[Any, Callable[[], None]]]:
    """What stands for `gendistill.training.replay.record`; each replay adds the number of its operations to `replays`."""

    def record(function: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        with Recorder() as recorded:
            found = function()

        @torch.inference_mode()
        def again() -> None:
            for operation, args, kwargs, before in recorded.calls:
                _write_over(before, operation(*args, **kwargs))
            replays.append(len(recorded.calls))

        return found, again

    return record


def watched(record: Callable[[Callable[[], Any]], Any], replays: list[int]) -> Callable[[Callable[[], Any]], Any]:
    """The real `record`; each replay adds the number of its recording to `replays`, from 1000."""
    numbers = itertools.count(1000)

    def watch(function: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        number = next(numbers)
        found, again = record(function)
        return found, lambda: (replays.append(number), again())[1]

    return watch


def _each(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _each(value)
        else:
            yield value


def _write_over(old: Any, new: Any) -> None:
    """Put what an operation gave now where it gave it before; views, and what is changed in place, are there already."""
    if isinstance(old, torch.Tensor):
        if old.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():
            old.copy_(new)
    elif isinstance(old, (list, tuple)):
        for mine, other in zip(old, new, strict=True):
            _write_over(mine, other)
