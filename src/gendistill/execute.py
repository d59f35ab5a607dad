"""Run one step from its spec: inputs checked, results atomic, receipt last, the user's mistakes as one message."""

import functools
import gc
import importlib
import json
import sys
import time
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gendistill.errors import InterruptedTraining, SettingError, UserError
from gendistill.files import RECEIPT, only_one, remove
from gendistill.plan.step import FUNCTIONS, OUTPUTS, RESUME, SHARED_OUT
from gendistill.runtime import Runtime, limit_threads, stop_on_signal
from gendistill.training.launch import EXIT_INTERRUPTED, own_rank, started_together, together

EXIT_USER_ERROR = 2
# What PyTorch is made of stays to the end: not to look it through for cycles, at the exit too, saves half a second a process.
look_away = functools.cache(gc.freeze)


def execute(
    spec: dict[str, Any],
    device: str = "auto",
    threads: int = 1,
    checkpoint_every: int = 1,
    processes: int = 1,
    tensorboard: bool = False,
    cuda_graphs: bool = False,
    predicted: dict[str, Any] | None = None,
) -> int:
    """Run the step that `spec` describes, in the current directory.

    With several `processes`, this one starts the others; under torchrun, each calls this function. With `tensorboard`, event
    files of a training are written; with `cuda_graphs`, its steps are replayed where they can be. `threads` are shared out among
    the processes. `predicted`, what the step was predicted to need, goes to its receipt.

    Returns:
        0 when done, 2 after a mistake of the user's, 75 when interrupted with all saved; messages go to standard error.
    """
    threads = max(1, threads // processes)
    limit_threads(threads)
    kind = spec["kind"]
    unit = "words" if kind.startswith("language") else "images"
    runtime = Runtime(device, threads, checkpoint_every, spec["source"], stop_on_signal(), label=spec["id"], unit=unit)
    runtime.cuda_graphs = cuda_graphs
    folder = Path("runs", kind, spec["id"])
    if tensorboard and own_rank() == 0:
        from gendistill.events import FOLDER, event_writer

        runtime.record = event_writer(FOLDER / kind / spec["id"], runtime.log)
    if cuda_graphs and unit == "words":
        runtime.log("steps are not replayed as CUDA graphs: it is a language model")
    own = ["-m", "gendistill", kind, "--spec", "@/dev/stdin", "--device", device, "--threads", str(threads)]
    own += ["--checkpoint-every", str(checkpoint_every)]

    def waiting(other: str) -> None:
        runtime.log(f"waiting for process {other}, which works on the same step")

    try:
        if kind not in SHARED_OUT and (count := started_together()) > 1:
            raise UserError(f"torchrun started {count} processes: a step {kind} is done by one process: start it without torchrun.")
        if kind not in SHARED_OUT and processes > 1:
            raise SettingError(f"runtime.processes = {processes}: a step {kind} is done by one process: set it to 1.")
        # Process 0 holds the lock for all.
        with nullcontext() if own_rank() else only_one(folder, waiting):
            finished = all((folder / name).exists() for name in (*OUTPUTS[kind], RECEIPT))
            with together(1 if finished else processes, device, own, json.dumps(spec), runtime.stop_requested) as runtime.processes:
                if runtime.processes.any(finished):
                    runtime.log("another process has finished this step")
                else:
                    _run(spec, folder, runtime, predicted)
    except InterruptedTraining as stop:
        runtime.log(f"{stop}. Run the same command again to go on.")
        return EXIT_INTERRUPTED
    except UserError as error:
        print(f"\nError in {kind} {spec['id']}:\n{error}", file=sys.stderr, flush=True)
        return EXIT_USER_ERROR
    return 0


def _run(spec: dict[str, Any], folder: Path, runtime: Runtime, predicted: dict[str, Any] | None) -> None:
    from gendistill.cost.energy import read_counters, used_energy
    from gendistill.cost.used import used
    from gendistill.receipt import write_receipt
    from gendistill.sharing.dvc import drop_stale_pointer

    kind = spec["kind"]
    started, clock, counters = datetime.now(UTC), time.monotonic(), read_counters()
    inputs = {
        role: Path("runs", names) if isinstance(names, str) else [Path("runs", name) for name in names]
        for role, names in spec["inputs"].items()
    }
    runtime.log(f"{kind} {spec['id']}")
    module, _, name = FUNCTIONS[kind].partition(":")
    function = getattr(importlib.import_module(module), name)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(runtime.threads)
    look_away()
    metrics = function(spec["settings"], inputs, folder, runtime)
    if runtime.processes.rank:
        return
    for name in OUTPUTS[kind]:
        drop_stale_pointer(folder / name)
    times = {"started": started.isoformat(timespec="seconds"), "seconds": round(time.monotonic() - clock, 2)}
    energy = used_energy(counters, read_counters(), runtime.processes.count)
    write_receipt(folder, spec, OUTPUTS[kind], metrics, times, {"predicted": predicted, "used": used(), "energy": energy})
    # Only now is the training safe without it.
    remove(folder / RESUME)
    runtime.log(f"done in {times['seconds']} s; {json.dumps(metrics)[:500]}")
