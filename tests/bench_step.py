"""Where the time of a training step goes, and what each trick for speed gains: python -m tests.bench_step (make bench-step).

The work is that of `make bench`. Each trick is taken away alone, the step with and without it take turns. The parts of a step are
set against the roofline: the time that its operations need at the rate of a large matrix product, or its bytes at the rate of a
large copy, whichever is longer.
"""

import argparse
import datetime
import re
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from gendistill.data.sources import ArrayImages
from gendistill.files import write_json
from gendistill.networks.trained import load_network
from gendistill.precision import REFERENCE, choose_device, number_format
from gendistill.receipt import environment
from gendistill.training import descent, loop
from tests import bench_students
from tests.bench_report import table
from tests.bench_students import DUMPED, ONLINE, SPACE, WORK, Way, dump, prepare, settle, student, synchronise, write_store
from tests.bench_training import in_turn, read_cores, say, told_now_and_then

ROOT = Path(__file__).resolve().parents[1]
# The parts of a step, by what is in the names of PyTorch's operations; the first that fits counts.
PARTS = {
    "convolutions, backward": r"convolution_backward",
    "convolutions, forward": r"convolution|conv2d",
    "batch norm": r"batch_norm",
    "ReLU": r"clamp_min|relu|threshold",
    "SGD": r"sgd",
    "sums": r"\badd_?\b",
}
OTHERS = "views, labels, loss, linear layer, casts"
MATRIX, COPIED = 2048, 1 << 28


def main() -> None:
    """Measure, print the tables, and write `step.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=read_cores())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--images", type=int, default=640)
    parser.add_argument("--dump-images", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1, help="each way runs for at least so long in a round")
    parser.add_argument("--compile", action="store_true", help="also torch.compile, which needs a compiler for C++ on a CPU")
    parser.add_argument("--out", type=Path, default=ROOT / ".bench/results")
    given = parser.parse_args()
    settle(given.threads)
    device = choose_device(given.device)
    found: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "environment": environment(),
        "device": device.type,
        "threads": given.threads,
        "rounds": given.rounds,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, given.images, given.dump_images, device)
        say("soft labels of all views")
        write_store(folder, device.type, told_now_and_then("views"))
        found["peaks"] = {precision: peaks(precision, device) for precision in ("float32", "auto")}
        found["parts"] = {labels: parts(folder, labels, device, found["peaks"]["auto"]) for labels in (DUMPED, ONLINE)}
        found["tricks"] = tricks(folder, device, given)
    print(text(found))
    write_json(given.out / "step.json", found)
    print(f"\n{given.out}/step.json")


def peaks(precision: str, device: torch.device) -> dict[str, float]:
    """What the machine reaches: operations a second of a large matrix product, bytes read and written a second of a copy."""
    factor = torch.ones(MATRIX, MATRIX, dtype=number_format(precision, device), device=device)
    source = torch.ones(COPIED // 4, device=device)
    target = torch.empty_like(source)
    return {
        "flops": 2 * MATRIX**3 / shortest(lambda: factor @ factor, device),
        "bytes": 2 * COPIED / shortest(lambda: target.copy_(source), device),
    }


def shortest(work: Callable[[], Any], device: torch.device, times: int = 7) -> float:
    """Seconds of the fastest of several calls, after one that is not counted."""
    taken = []
    for _ in range(times + 1):
        synchronise(device)
        started = time.perf_counter()
        work()
        synchronise(device)
        taken.append(time.perf_counter() - started)
    return min(taken[1:])


def parts(folder: Path, labels: str, device: torch.device, peak: dict[str, float], epochs: int = 5) -> list[dict[str, Any]]:
    """For each part of a step in the default precision: its time, operations and bytes, and what the roofline asks."""
    way = student(folder, labels, "auto", device)
    way(1)
    with _Counts() as counts:
        images, _ = way(1)
    steps = images // WORK["batch_size"]
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as record:
        _, seconds = way(epochs)
    spent: dict[str, float] = defaultdict(float)
    for event in record.key_averages():
        time_of = event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total
        spent[part_of(event.key)] += time_of / 1e6 / (steps * epochs)
    # What no operation accounts for, Python above all, is in the time of the whole.
    spent[OTHERS] += max(0.0, seconds / (steps * epochs) - sum(spent.values()))
    return [
        {
            "part": part,
            "seconds": spent[part],
            "flops": counts.flops[part] / steps,
            "bytes": counts.bytes[part] / steps,
            "roofline": max(counts.flops[part] / peak["flops"], counts.bytes[part] / peak["bytes"]) / steps,
        }
        for part in sorted(spent, key=lambda part: -spent[part])
    ]


def part_of(operation: str) -> str:
    return next((part for part, pattern in PARTS.items() if re.search(pattern, operation)), OTHERS)


class _Counts(TorchDispatchMode):
    """Operations, and bytes read and written, of each part of what runs inside."""

    def __init__(self) -> None:
        super().__init__()
        self.flops: dict[str, float] = defaultdict(float)
        self.bytes: dict[str, float] = defaultdict(float)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with FlopCounterMode(display=False) as counter:
            found = function(*args, **(kwargs or {}))
        part = part_of(str(function))
        self.flops[part] += counter.get_total_flops()
        # A view of an array moves nothing.
        if not any(value.alias_info is not None and not value.alias_info.is_write for value in function._schema.returns):
            self.bytes[part] += sum(tensor.nbytes for tensor in (*tensors(args), *tensors(found)))
        return found


def tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from tensors(each)


def tricks(folder: Path, device: torch.device, given: argparse.Namespace) -> list[dict[str, Any]]:
    """For each trick the rates with and without it, in all rounds."""

    def train(labels: str, precision: str = "auto") -> Callable[[], Way]:
        return lambda: student(folder, labels, precision, device)

    contiguous = [mock.patch(f"{place}.layout", lambda precision: torch.contiguous_format) for place in LAYOUTS]
    # What is compared, with the trick and without: how a way is made, and what stands in for the trick in the meantime.
    pairs: dict[str, tuple[Callable[[], Way], Callable[[], Way], list[Any]]] = {
        "bfloat16 (precision: auto)": (train(DUMPED), train(DUMPED, "float32"), []),
        "channels_last": (train(DUMPED), train(DUMPED), contiguous),
        "one kernel for the whole update (fused SGD)": (
            train(DUMPED),
            train(DUMPED),
            [mock.patch.object(descent, "is_fused", lambda recipe: False)],
        ),
        "a batch of views in one gather": (
            train(DUMPED),
            train(DUMPED),
            [mock.patch.object(ArrayImages, "batches", one_image_after_the_other)],
        ),
        "labels at hand": (train(DUMPED), train(ONLINE), []),
        "folded teacher, online": (
            train(ONLINE),
            train(ONLINE),
            [mock.patch.object(bench_students, "load_teacher", load_network)],
        ),
        "folded teacher, dump": (
            lambda: dump(folder, "auto", device),
            lambda: dump(folder, "auto", device),
            [mock.patch("gendistill.softlabels.dump.load_teacher", load_network)],
        ),
        "all of them (precision: reference, teacher online)": (train(DUMPED), train(ONLINE, REFERENCE), []),
    }
    if device.type == "cuda":
        for labels in (DUMPED, ONLINE):
            replayed = partial(student, folder, labels, "auto", device, cuda_graphs=True)
            pairs[f"steps replayed as CUDA graphs, {labels} labels (runtime.cuda_graphs)"] = (replayed, train(labels), [])
    if given.compile:
        pairs["torch.compile (not used)"] = (lambda: compiled(folder, device), train(DUMPED), [])
    found = []
    for name, (make, make_other, patches) in pairs.items():
        say(name)
        ways = {"with": make(), "without": patched(make_other, patches)}
        _, rates = in_turn(ways, given.rounds, given.seconds)
        found.append({"trick": name, **rates})
    return found


# The modules that ask how arrays lie in memory.
LAYOUTS = ("gendistill.networks.trained", "tests.bench_students")


def patched(make: Callable[[], Way], patches: list[AbstractContextManager[Any]]) -> Way:
    """A way that is made, and goes, while all `patches` hold."""

    def inside(work: Callable[[], Any], left: list[AbstractContextManager[Any]]) -> Any:
        with left[0] if left else nullcontext():
            return inside(work, left[1:]) if left else work()

    way = inside(make, patches)
    return lambda times: inside(lambda: way(times), patches)


def one_image_after_the_other(source: ArrayImages, order: Tensor, views: Tensor, batch_size: int) -> Iterator[Tensor]:
    """The same views as `ArrayImages.batches` gives, each cut by itself."""
    side = 2 * SPACE.pad + 1
    for index in order.split(batch_size):
        batch = []
        for image, view in zip(index.tolist(), views[index].tolist(), strict=True):
            crop, mirrored = divmod(view, 2)
            pixels = source.windows[image, :, crop // side, crop % side]
            batch.append(pixels.flip(-1) if mirrored else pixels)
        yield torch.stack(batch)


def compiled(folder: Path, device: torch.device) -> Way:
    """A student whose network the compiler has made faster; how long that took is told apart."""
    fit = loop.fit

    def fit_compiled(network: torch.nn.Module, *rest: Any) -> Any:
        return fit(networks.setdefault(network, torch.compile(network)), *rest)

    networks: dict[torch.nn.Module, Any] = {}
    way = patched(lambda: student(folder, DUMPED, "auto", device), [mock.patch.object(bench_students, "fit", fit_compiled)])
    started = time.monotonic()
    way(1)
    say(f"compiling took {time.monotonic() - started:.0f} s")
    return way


def text(found: dict[str, Any]) -> str:
    """The tables, in Markdown."""
    env, blocks = found["environment"], []
    reached = ", ".join(
        f"{precision}: {peak['flops'] / 1e9:,.0f} GFLOP/s of a matrix product" for precision, peak in found["peaks"].items()
    )
    blocks.append(
        f"{found['date'][:10]}, {env['processor']} ({found['device']}), {found['threads']} threads, PyTorch {env['torch']}. "
        f"Reached by {reached}; {found['peaks']['auto']['bytes'] / 1e9:,.0f} GB/s of a copy."
    )
    for labels, rows in found["parts"].items():
        total = sum(row["seconds"] for row in rows)
        head = [f"{labels} labels", "ms a step", "share", "GFLOP", "MB moved", "roofline, ms", "of it reached"]
        rows = [*rows, {"part": "the step", "seconds": total, **{key: sum(r[key] for r in rows) for key in SUMMED}}]
        blocks.append(table([head, *(part_row(row, total) for row in rows)]))
    head = ["trick", "with, a second", "without, a second", "gain", "min to max of the rounds"]
    blocks.append(table([head, *(trick_row(row) for row in found["tricks"])]))
    return "\n\n".join(blocks)


SUMMED = ("flops", "bytes", "roofline")


def part_row(row: dict[str, Any], total: float) -> list[str]:
    return [
        row["part"],
        f"{1e3 * row['seconds']:.1f}",
        f"{row['seconds'] / total:.0%}",
        f"{row['flops'] / 1e9:.1f}",
        f"{row['bytes'] / 1e6:,.0f}",
        f"{1e3 * row['roofline']:.1f}",
        f"{row['roofline'] / row['seconds']:.0%}",
    ]


def trick_row(row: dict[str, Any]) -> list[str]:
    ratios = [a / b for a, b in zip(row["with"], row["without"], strict=True)]
    rates = (f"{statistics.median(row[side]):,.0f}" for side in ("with", "without"))
    return [row["trick"], *rates, f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}"]


if __name__ == "__main__":
    main()
