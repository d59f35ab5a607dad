"""Start the other processes of a training on this machine, and end with them.

Process 0 is the one that the user or Snakemake has started, so it alone holds the lock, gets the signals and gives the exit
code. The others learn who they are by torchrun's environment variables: under torchrun, which starts all, none are started here.
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from gendistill.errors import UserError
from gendistill.training.processes import Processes, join, leave

# What other processes have left to end by themselves after the training has ended or one of them has failed.
GRACE_SECONDS = 5.0
# What torchrun tells each process that it starts.
TORCHRUN = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
# EX_TEMPFAIL of sysexits.h: the same command again goes on from where this one stopped.
EXIT_INTERRUPTED = 75


@dataclass(frozen=True)
class Other:
    """A process that this one has started, and the file that its messages go to."""

    rank: int
    process: subprocess.Popen[str]
    messages: IO[str]


def own_rank() -> int:
    """The number that this process was started as, 0 where it was started alone."""
    return int(os.environ["RANK"]) if started_together() else 0


def started_together() -> int:
    """With how many others torchrun, or process 0, started this process, itself included; 0 where it was started alone."""
    # Other software sets RANK too, but not all of these.
    return int(os.environ["WORLD_SIZE"]) if os.environ.keys() >= TORCHRUN else 0


@contextmanager
def together(count: int, device: str, command: list[str], text: str, stopping: Callable[[], bool]) -> Iterator[Processes]:
    """Train with `count` processes on this machine, or with those that torchrun has started.

    Args:
        count: of processes.
        device: `auto`, `cpu` or `cuda`; on GPUs each process takes one.
        command: arguments of Python that do in another process what this one does in the block.
        text: what `command` reads from standard input.
        stopping: whether a signal asked to stop.

    Raises:
        SettingError: there are fewer GPUs than processes on this machine.
        UserError: another process failed, with its message.
    """
    if started_together():
        with _joined(device) as processes:
            yield processes
        return
    if count == 1:
        yield Processes()
        return
    before = dict(os.environ)
    others, store = _start_others(count, command, text)
    ended = threading.Event()
    threading.Thread(target=_watch, args=(others, ended, stopping), daemon=True).start()
    try:
        with _joined(device) as processes:
            yield processes
    except RuntimeError as error:
        if failed := _wait_for_failure(others):
            raise UserError(_message(failed)) from error
        raise
    finally:
        ended.set()
        _end(others)
        # The next training in this process is another one.
        os.environ.clear()
        os.environ.update(before)
        # The place where the processes find each other goes last.
        del store


@contextmanager
def _joined(device: str) -> Iterator[Processes]:
    """Join the processes for the block, and leave them however it ends: Python can't end in order as one of them."""
    processes = join(device)
    try:
        yield processes
    finally:
        # With a GPU that waits for what another process will never send, leaving them may take for ever.
        leaving = threading.Thread(target=leave, daemon=True)
        leaving.start()
        leaving.join(GRACE_SECONDS)


def _start_others(count: int, command: list[str], text: str) -> tuple[list[Other], object]:
    """Start processes 1 to `count` - 1 as torchrun would, and make this one process 0."""
    from torch.distributed import TCPStore

    # Its own socket would listen to other machines too.
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    store = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach())
    shared = {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    others = []
    for rank in range(1, count):
        messages = tempfile.TemporaryFile("w+")  # noqa: SIM115
        process = subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=messages,
            text=True,
        )
        others.append(Other(rank, process, messages))
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(text)
    os.environ.update(shared, RANK="0", LOCAL_RANK="0")
    return others, store


def _failed(others: list[Other]) -> Other | None:
    """The first that has ended otherwise than done or interrupted."""
    return next((other for other in others if other.process.poll() not in (None, 0, EXIT_INTERRUPTED)), None)


def _wait_for_failure(others: list[Other]) -> Other | None:
    """The one that has failed: it is missed by the others a moment before it has ended."""
    until = time.monotonic() + GRACE_SECONDS
    while _failed(others) is None and time.monotonic() < until:
        time.sleep(0.05)
    return _failed(others)


def _message(other: Other) -> str:
    other.messages.seek(0)
    code = other.process.returncode
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"process {other.rank} of a training by several processes {how}; its messages:\n{other.messages.read().strip()}"


def _watch(others: list[Other], ended: threading.Event, stopping: Callable[[], bool]) -> None:
    """End this process when another has failed and this one waits for it for ever, as it may on a GPU or at the start."""
    while not ended.wait(0.2):
        other = _failed(others)
        if other and not ended.wait(2 * GRACE_SECONDS):
            print(f"\nError: {_message(other)}", file=sys.stderr, flush=True)
            for each in others:
                each.process.kill()
            os._exit(EXIT_INTERRUPTED if stopping() else max(other.process.returncode, 1))


def _end(others: list[Other]) -> None:
    until = time.monotonic() + GRACE_SECONDS
    for other in others:
        try:
            other.process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            other.process.kill()
            other.process.wait()
        other.messages.close()
