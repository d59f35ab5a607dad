"""Run one step from its spec: inputs checked, results atomic, receipt last, the user's mistakes as one message."""

import importlib
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gendistill.errors import InterruptedTraining, UserError
from gendistill.files import RECEIPT, only_one, remove
from gendistill.plan.step import FUNCTIONS, OUTPUTS, RESUME
from gendistill.runtime import Runtime, limit_threads, stop_on_signal

EXIT_USER_ERROR = 2
# EX_TEMPFAIL of sysexits.h: the same command again goes on from where this one stopped.
EXIT_INTERRUPTED = 75


def execute(spec: dict[str, Any], device: str = "auto", threads: int = 1, checkpoint_every: int = 1) -> int:
    """Run the step that `spec` describes, in the current directory.

    Returns:
        0 when done, 2 after a mistake of the user's, 75 when interrupted with all saved; messages go to standard error.
    """
    limit_threads(threads)
    unit = "words" if spec["kind"].startswith("language") else "images"
    runtime = Runtime(device, threads, checkpoint_every, spec["source"], stop_on_signal(), label=spec["id"], unit=unit)
    folder = Path("runs", spec["kind"], spec["id"])
    try:
        with only_one(folder, lambda other: runtime.log(f"waiting for process {other}, which works on the same step")):
            if all((folder / name).exists() for name in (*OUTPUTS[spec["kind"]], RECEIPT)):
                runtime.log("another process has finished this step")
                return 0
            _run(spec, folder, runtime)
    except InterruptedTraining as stop:
        runtime.log(f"{stop}. Run the same command again to go on.")
        return EXIT_INTERRUPTED
    except UserError as error:
        print(f"\nError in {spec['kind']} {spec['id']}:\n{error}", file=sys.stderr, flush=True)
        return EXIT_USER_ERROR
    return 0


def _run(spec: dict[str, Any], folder: Path, runtime: Runtime) -> None:
    from gendistill.receipt import write_receipt
    from gendistill.sharing.dvc import drop_stale_pointer

    kind = spec["kind"]
    started, clock = datetime.now(UTC), time.monotonic()
    inputs = {
        role: Path("runs", names) if isinstance(names, str) else [Path("runs", name) for name in names]
        for role, names in spec["inputs"].items()
    }
    runtime.log(f"{kind} {spec['id']}")
    module, _, name = FUNCTIONS[kind].partition(":")
    function = getattr(importlib.import_module(module), name)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(runtime.threads)
    metrics = function(spec["settings"], inputs, folder, runtime)
    for name in OUTPUTS[kind]:
        drop_stale_pointer(folder / name)
    times = {"started": started.isoformat(timespec="seconds"), "seconds": round(time.monotonic() - clock, 2)}
    write_receipt(folder, spec, OUTPUTS[kind], metrics, times)
    # Only now is the training safe without it.
    remove(folder / RESUME)
    runtime.log(f"done in {times['seconds']} s; {json.dumps(metrics)[:500]}")
