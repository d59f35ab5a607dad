"""What a step is run with that changes its result by rounding only: device, threads, progress, and the wish to stop."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gendistill.files import duration
from gendistill.training.processes import Processes

# How often progress is shown: on a terminal; elsewhere in the first half minute; and after it.
REDRAW_SECONDS = 0.2
QUIET_SECONDS = 10.0
LINE_SECONDS = 30.0


@dataclass
class Runtime:
    """See the module.

    Attributes:
        device: `auto`, `cpu` or `cuda`.
        threads: CPU threads.
        checkpoint_every: epochs between two resume checkpoints.
        cuda_graphs: whether steps of training on a GPU are recorded and replayed.
        source: where the user's own files lie.
        stop_requested: whether a signal asked the step to stop.
        record: called after each epoch of a training with the rows of all epochs so far, the columns of `history.csv`.
        label: what progress is shown for.
        unit: what is counted.
        processes: those that do the step together; process 0 alone shows progress.
    """

    device: str = "auto"
    threads: int = 1
    checkpoint_every: int = 1
    source: dict[str, Any] = field(default_factory=dict)
    stop_requested: Callable[[], bool] = lambda: False
    record: Callable[[list[dict[str, float]]], None] = lambda rows: None
    label: str = ""
    unit: str = "images"
    processes: Processes = field(default_factory=Processes)
    cuda_graphs: bool = False
    _started: float = field(default_factory=time.monotonic)
    _shown: float = field(default_factory=time.monotonic)
    _first: int | None = None

    def log(self, text: str) -> None:
        """Write one line to the log, which is standard error."""
        if self.processes.rank:
            return
        clear = "\r\033[K" if sys.stderr.isatty() else ""
        print(f"{clear}{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    def progress(self, done: int, total: int) -> None:
        """Show how far the step is: redrawn on a terminal, else a line in the log and on standard output now and then."""
        if self.processes.rank:
            return
        now = time.monotonic()
        if self._first is None:
            # A resumed step starts with work that is already done.
            self._first, self._started = done, now
        on_terminal, running = sys.stderr.isatty(), now - self._started
        pause = REDRAW_SECONDS if on_terminal else QUIET_SECONDS if running < LINE_SECONDS else LINE_SECONDS
        if done < total and now - self._shown < pause:
            return
        self._shown = now
        rate = (done - self._first) / max(running, 1e-9)
        left = duration((total - done) / max(rate, 1e-9))
        text = f"{done:,} of {total:,} {self.unit} ({100 * done / total:.0f} %), {rate:,.0f} {self.unit}/s, {left} left"
        if on_terminal:
            print(f"\r{self.label}: {text}\033[K", end="\n" if done == total else "", file=sys.stderr, flush=True)
        elif running > QUIET_SECONDS:
            self.log(text)
            try:
                print(f"{self.label}: {text}", flush=True)
            except BrokenPipeError:
                # Snakemake or the terminal is gone: the step goes on without.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def stop_on_signal() -> Callable[[], bool]:
    """Answer SIGTERM, SIGINT and SIGUSR1 by a flag, so that a step can save first; return the reader of the flag."""
    requested = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, lambda *_: requested.set())
    return requested.is_set


def limit_threads(threads: int) -> None:
    """Let numerical libraries use `threads` CPU threads; call it before they are imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    # What cuBLAS needs to give the same bits each time.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
