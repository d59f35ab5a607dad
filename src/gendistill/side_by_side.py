"""Several trainings in one job, at the same time: each in a process of its own, with its own log, lock, checkpoint and result.

A small network leaves a GPU idle most of the time: it waits for the processor that starts its kernels. Processes that share one
should change no bit of each other's results; that was tested on CPUs.

Snakemake removes all that a failed job left, and so also what the siblings that did not fail had finished. That is kept in another
folder until the next start of Snakemake, which puts back what is missing.
"""

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gendistill.errors import UserError
from gendistill.files import RECEIPT, is_locked, link_files, only_one, read_receipt, sha256
from gendistill.plan.paths import CACHE
from gendistill.plan.step import OUTPUTS
from gendistill.runtime import stop_on_signal
from gendistill.training.launch import EXIT_INTERRUPTED

LOGS = Path("logs")
KEPT = CACHE / "kept"
LOOK_SECONDS = 0.2


def run_side_by_side(name: str, specs: Sequence[dict[str, Any]], options: Sequence[str]) -> int:
    """Run steps at the same time; the log of each is `logs/<kind>/<id>.log`. When one fails, the others go on.

    Args:
        name: of the job.
        specs: of the steps.
        options: of the command of each.

    Returns:
        0 when all are done; else 75 if a signal asked to stop, with all saved, or the exit code of the first that failed.
    """
    stop_requested = stop_on_signal()
    with only_one(KEPT / name, lambda other: _say(f"waiting for process {other}, which does the same steps")):
        _restore(KEPT / name)
        codes = _run(specs, options, KEPT / name, stop_requested)
        # An older job that had some of the same steps may have failed meanwhile.
        _restore(KEPT / name)
    failed = {step: code for step, code in codes.items() if code}
    if not failed:
        return 0
    _say("\n".join(["not done, see:", *(f"  {LOGS}/{step}.log" for step in failed)]))
    # One that had only just begun is ended by the signal, and has nothing to save.
    return EXIT_INTERRUPTED if stop_requested() else max(next(iter(failed.values())), 1)


def _run(specs: Sequence[dict[str, Any]], options: Sequence[str], kept: Path, stop_requested: Callable[[], bool]) -> dict[str, int]:
    """Run steps at the same time, and keep what each leaves; return their exit codes."""
    waiting: dict[str, tuple[dict[str, Any], subprocess.Popen]] = {}
    codes: dict[str, int] = {}
    try:
        for spec in specs:
            waiting[f"{spec['kind']}/{spec['id']}"] = spec, _start(spec, options)
        told = False
        while waiting:
            if stop_requested() and not told:
                told = True
                for _, process in waiting.values():
                    process.terminate()
            for step, (spec, process) in list(waiting.items()):
                if process.poll() is None:
                    continue
                del waiting[step]
                codes[step] = process.returncode
                _say(f"{step}: exit code {process.returncode}")
                if process.returncode == 0:
                    # A full disk must not end the others.
                    with contextlib.suppress(UserError):
                        link_files([*OUTPUTS[spec["kind"]], RECEIPT], Path("runs", step), kept / step)
            time.sleep(LOOK_SECONDS)
    finally:
        for _, process in waiting.values():
            process.terminate()
        for _, process in waiting.values():
            process.wait()
    return codes


def _start(spec: dict[str, Any], options: Sequence[str]) -> subprocess.Popen:
    log = LOGS / spec["kind"] / f"{spec['id']}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "gendistill", spec["kind"], "--spec", "@/dev/stdin", *options]
    with open(log, "w") as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors, text=True)
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(json.dumps(spec))
    return process


def restore_kept() -> None:
    """Put back what jobs that failed had kept, and keep it no longer; for the start of Snakemake."""
    for kept in KEPT.glob("*"):
        if not is_locked(kept):
            _restore(kept)
            shutil.rmtree(kept, ignore_errors=True)


def _restore(kept: Path) -> None:
    """Put back those of the kept steps that are not there any more, if they are whole."""
    for receipt in kept.glob(f"*/*/{RECEIPT}"):
        source = receipt.parent
        target = Path("runs", source.relative_to(kept))
        with contextlib.suppress(UserError, OSError, KeyError):
            outputs = read_receipt(source)["outputs"]
            if all((target / name).exists() for name in (*outputs, RECEIPT)):
                continue
            if all(sha256(source / name) == output["sha256"] for name, output in outputs.items()):
                link_files([*outputs, RECEIPT], source, target)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
