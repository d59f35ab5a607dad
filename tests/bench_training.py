"""How fast students learn, beside torchdistill: python -m tests.bench_training (make bench).

ResNet-56 teaches ResNet-20 on synthetic CIFAR-100 in batches of 64: with the teacher online and with dumped labels, in float32 and
in the default precision; torchdistill with its teacher as it ships it and in eval mode. The ways take turns, each trains whole
epochs, one process computes at a time. docs/performance.md says what is counted.
"""

import argparse
import datetime
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gendistill.errors import SettingError
from gendistill.files import write_bytes, write_json
from gendistill.precision import choose_device, number_format
from gendistill.receipt import environment
from tests import bench_report as report
from tests.bench_peer import Worker, peer_python, start_peer
from tests.bench_students import DUMPED, ONLINE, PRECISIONS, REPLAYED, WORK, Way, dump, prepare, settle, student, write_store

# So many that what an epoch begins with counts for little, and few enough that the labels of all their views are soon dumped.
IMAGES = {"cpu": 640, "cuda": 12800}
ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Measure, print the tables, and write `bench.json`, `bench.svg` and `bench.png`."""
    given = read_options()
    settle(given.threads)
    try:
        device = choose_device(given.device)
    except SettingError as error:
        raise SystemExit(str(error)) from error
    given.images = given.images or IMAGES[device.type]
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), given, device)
    text = report.text(found)
    print(text)
    write_json(given.out / "bench.json", found)
    for name, content in report.figures(found).items():
        write_bytes(given.out / name, content)
    print(f"\n{given.out}/bench.json, bench.svg, bench.png")


def read_options() -> argparse.Namespace:
    """The options of the command line."""
    cores = read_cores()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=cores, help="of every way; all cores by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, help=f"training images, the same for all ways; by default {IMAGES}")
    parser.add_argument("--seconds", type=float, default=3, help="each way trains whole epochs for at least so long in a round")
    parser.add_argument("--dump-images", type=int, default=25, help="whose views are all dumped in each round")
    parser.add_argument("--epochs", type=int, default=240, help="of a student, for what a dump saves")
    parser.add_argument("--seeds", type=int, default=0, help="also so many of our students side by side, which share the threads")
    parser.add_argument(
        "--workers",
        type=int,
        nargs="+",
        default=[0, *(2**i for i in range(cores.bit_length()) if 2**i <= cores)],
        help="loader processes that torchdistill may choose from: the fastest is taken",
    )
    parser.add_argument("--peer", help="a command to run instead of torchdistill's; none for ours alone")
    parser.add_argument("--peer-folder", type=Path, default=ROOT / ".bench/torchdistill", help="where torchdistill is installed")
    parser.add_argument("--out", type=Path, default=ROOT / ".bench/results")
    return parser.parse_args()


def read_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def measure(folder: Path, given: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """All that is reported: settings, machine, the rates of every way in every round, what follows for the dump."""
    load = os.getloadavg()[0]
    formats = {precision: str(number_format(precision, device)).removeprefix("torch.") for precision in PRECISIONS}
    parameters = prepare(folder, given.images, given.dump_images, device)
    ways: dict[str, Way] = {}
    peer, reason = begin_peer(folder, given, device, parameters)
    # Each ends when its input does, and so with this process whatever happens.
    workers = [peer] if peer else []
    if peer:
        ways |= {f"torchdistill {way}": lambda epochs, way=way: peer.go(f"{way} {epochs}") for way in ("shipped", "eval")}
    say("soft labels of all views")
    write_store(folder, device.type, told_now_and_then("views"))
    for labels in (ONLINE, DUMPED):
        ways |= {f"{labels} {precision}": student(folder, labels, precision, device) for precision in PRECISIONS}
        if device.type == "cuda":
            ways[f"{labels} auto{REPLAYED}"] = student(folder, labels, "auto", device, cuda_graphs=True)
    ways |= {f"dump {precision}": dump(folder, precision, device) for precision in PRECISIONS}
    if given.seeds:
        for labels in (ONLINE, DUMPED):
            for kind in ("", REPLAYED) if device.type == "cuda" else ("",):
                own = start_students(folder, labels, given, device, bool(kind))
                workers += own
                ways[f"{labels} auto{kind} x {given.seeds}"] = side_by_side(own)
    times, rates = in_turn(ways, given.rounds, given.seconds)
    for worker in workers:
        worker.end()
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else environment()["processor"],
        "threads": given.threads,
        "cores": os.cpu_count(),
        "load_average_before": load,
        "number_formats": formats,
        "work": {**WORK, "images": given.images, "parameters": parameters},
        "dump_images": given.dump_images,
        "rounds": given.rounds,
        "seeds": given.seeds,
        "torchdistill": peer.ready if peer else None,
        "torchdistill_missing": reason,
        "environment": {**environment(), "machine": platform.machine()},
        "ways": {name: report.summary(rates, name, times[name]) for name in ways},
        "dump": report.dump_costs(rates, given.epochs),
    }


def begin_peer(
    folder: Path, given: argparse.Namespace, device: torch.device, parameters: dict[str, int]
) -> tuple[Worker | None, str | None]:
    """torchdistill, ready to go, or why there is none.

    Raises:
        SystemExit: its networks are not ours.
    """
    if given.peer == "none":
        return None, "not asked for"
    try:
        command = shlex.split(given.peer) if given.peer else [str(peer_python(given.peer_folder, say))]
        say("torchdistill: choosing its number of workers")
        peer = start_peer(command, folder / "images.npz", device.type, given.threads, given.workers, script=not given.peer)
    except (OSError, subprocess.SubprocessError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1]
        say(f"torchdistill cannot be run, so ours alone: {reason}")
        return None, reason
    if peer.ready["parameters"] != parameters:
        raise SystemExit(f"the networks differ: {parameters} parameters here, {peer.ready['parameters']} in torchdistill")
    return peer, None


def start_students(folder: Path, labels: str, given: argparse.Namespace, device: torch.device, cuda_graphs: bool) -> list[Worker]:
    """Students in processes of their own, in the default precision, among which the threads are divided."""
    options = ["--labels", labels, "--precision", "auto", "--device", device.type]
    threads = ["--threads", str(max(1, given.threads // given.seeds))]
    options += ["--cuda-graphs"] if cuda_graphs else []
    command = [sys.executable, "-m", "tests.bench_students", str(folder), *options, *threads]
    students = [Worker([*command, "--seed", str(seed)]) for seed in range(given.seeds)]
    for each in students:
        each.wait()
    return students


def side_by_side(students: list[Worker]) -> Way:
    """All students at once: images of all of them, and seconds until the last is done."""

    def run(epochs: int) -> tuple[int, float]:
        started = time.monotonic()
        for each in students:
            each.tell(f"go {epochs}")
        images = sum(each.answer()["images"] for each in students)
        return images, time.monotonic() - started

    return run


def in_turn(ways: dict[str, Way], rounds: int, seconds: float) -> tuple[dict[str, int], dict[str, list[float]]]:
    """How often each way runs in a round, and what it does a second in each round; the ways take turns."""
    times = {name: choose_times(name, way, seconds) for name, way in ways.items()}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        say(f"round {turn + 1} of {rounds}")
        for name, way in ways.items():
            done, taken = way(times[name])
            rates[name].append(done / taken)
    return times, rates


def choose_times(name: str, way: Way, seconds: float) -> int:
    """How many epochs, or dumps, take `seconds`; what is only slow at first is not counted."""
    say(f"warming up: {name}")
    way(1)
    return max(1, round(seconds / way(1)[1]))


def told_now_and_then(unit: str, pause: float = 10) -> Callable[[int, int], None]:
    """A `progress` that prints a line now and then."""
    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > pause:
            last = time.monotonic()
            say(f"{done:,} of {total:,} {unit}")

    return tell


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
