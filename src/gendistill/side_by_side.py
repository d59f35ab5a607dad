"""Several trainings in one job, at the same time: each in a process of its own, with its own log, lock, checkpoint and result.

A small network leaves a GPU idle most of the time: it waits for the processor that starts its kernels. Processes that share a GPU
change no bit of each other's results.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gendistill.files import RECEIPT, link_files
from gendistill.plan.paths import CACHE
from gendistill.plan.step import OUTPUTS
from gendistill.runtime import stop_on_signal
from gendistill.training.launch import EXIT_INTERRUPTED

LOGS = Path("logs")
LOOK_SECONDS = 0.2


def run_side_by_side(specs: Sequence[dict[str, Any]], options: Sequence[str]) -> int:
    """Run steps at the same time; the log of each is `logs/<kind>/<id>.log`.

    When one fails, the others go on. What they leave is kept until all are done: Snakemake removes it with the job that failed,
    and the next attempt puts it back.

    Args:
        specs: of the steps.
        options: of the command of each.

    Returns:
        0 when all are done; else 75 if one was interrupted with all saved, or the exit code of the first that failed.
    """
    stop_requested = stop_on_signal()
    waiting = {_start(spec, options): spec for spec in specs}
    codes: dict[str, int] = {}
    told = False
    while waiting:
        if stop_requested() and not told:
            told = True
            for process in waiting:
                process.terminate()
        for process in [process for process in waiting if process.poll() is not None]:
            spec = waiting.pop(process)
            codes[_name(spec)] = process.returncode
            if process.returncode == 0:
                keep(spec)
            print(f"{_name(spec)}: exit code {process.returncode}", file=sys.stderr, flush=True)
        time.sleep(LOOK_SECONDS)
    failed = {name: code for name, code in codes.items() if code}
    if not failed:
        for spec in specs:
            forget(spec)
        return 0
    print("\n".join(["Not done, see:", *(f"  {LOGS}/{name}.log" for name in failed)]), file=sys.stderr)
    return EXIT_INTERRUPTED if EXIT_INTERRUPTED in failed.values() else max(next(iter(failed.values())), 1)


def _start(spec: dict[str, Any], options: Sequence[str]) -> subprocess.Popen:
    log = LOGS / f"{_name(spec)}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "gendistill", spec["kind"], "--spec", "@/dev/stdin", *options]
    with open(log, "w") as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors, text=True)
    with process.stdin as pipe:
        pipe.write(json.dumps(spec))
    return process


def keep(spec: dict[str, Any]) -> None:
    """Keep what a finished step left, apart from where Snakemake removes it."""
    link_files(_files(spec), Path("runs", _name(spec)), _kept(spec))


def restore_kept(spec: dict[str, Any]) -> None:
    """Put what was kept of a step back into its folder."""
    if (_kept(spec) / RECEIPT).exists():
        link_files(_files(spec), _kept(spec), Path("runs", _name(spec)))


def forget(spec: dict[str, Any]) -> None:
    """Keep what a step left no longer."""
    shutil.rmtree(_kept(spec), ignore_errors=True)


def _files(spec: dict[str, Any]) -> list[str]:
    return [*OUTPUTS[spec["kind"]], RECEIPT]


def _kept(spec: dict[str, Any]) -> Path:
    return CACHE / "kept" / _name(spec)


def _name(spec: dict[str, Any]) -> str:
    return f"{spec['kind']}/{spec['id']}"
