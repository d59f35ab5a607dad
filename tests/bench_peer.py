"""torchdistill for `make bench`: an environment of its own, and processes that are told line by line what to do."""

import json
import os
import re
import subprocess
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench_students import WORK

ROOT = Path(__file__).resolve().parents[1]
PEER = "torchdistill==1.1.5"
# Of the packages that torchdistill asks for, those that it needs to run; with the versions of our lock, and torch before all.
FIRST, NEEDED, LAST = "torch", ("numpy", "pillow", "PyYAML"), "torchvision"
SECONDS_TO_END = 10


class Worker:
    """A process that says one line of JSON when it is ready, and then answers each line by one.

    Attributes:
        ready: what it said when it was ready, once `wait` has read it.
    """

    def __init__(self, command: list[str]) -> None:
        self.ready: dict[str, Any] = {}
        # Only our own steps, which set it themselves, need what makes cuBLAS deterministic.
        env = {name: value for name, value in os.environ.items() if name != "CUBLAS_WORKSPACE_CONFIG"}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=env)

    def wait(self) -> None:
        """Wait until it is ready."""
        self.ready = self.answer()

    def tell(self, line: str) -> None:
        """Send a line."""
        print(line, file=self.process.stdin, flush=True)

    def answer(self) -> dict[str, Any]:
        """Its next line.

        Raises:
            RuntimeError: it has ended, or says no JSON.
        """
        line = self.process.stdout.readline()
        try:
            return json.loads(line)
        except json.JSONDecodeError as error:
            code = self.process.wait(SECONDS_TO_END) if not line else None
            raise RuntimeError(f"{' '.join(self.process.args[:3])}: {line.strip() or f'ended with exit code {code}'}") from error

    def go(self, what: str) -> tuple[int, float]:
        """Let it work: the number of images and the seconds that it took, as it says."""
        self.tell(f"go {what}")
        found = self.answer()
        return found["images"], found["seconds"]

    def end(self) -> None:
        """Let it end: its input does."""
        self.process.stdin.close()
        try:
            self.process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_peer(command: list[str], data: Path, device: str, threads: int, workers: list[int], script: bool) -> Worker:
    """Start torchdistill, or what stands for it, and wait until it is warm.

    Args:
        command: Python of its environment, or a whole command.
        data: the images.
        device: `cpu` or `cuda`.
        threads: CPU threads.
        workers: numbers of loader processes to choose from.
        script: whether its script is to be added to the command.

    Raises:
        OSError: the command can't be started.
        RuntimeError: it ended before it was ready.
    """
    command = [*command, str(Path(__file__).with_name("bench_torchdistill.py"))] if script else command
    options = ["--data", str(data), "--settings", json.dumps(WORK), "--device", device, "--threads", str(threads)]
    peer = Worker([*command, *options, "--workers", *map(str, workers)])
    peer.wait()
    return peer


def peer_python(folder: Path, say: Callable[[str], None]) -> Path:
    """Python of the environment in `folder`, which is made where it is not there; kept for the next time.

    Raises:
        OSError: the folder can't be written.
        RuntimeError: something can't be installed; the last line says why.
    """
    python, mark = folder / "bin/python", folder / ".installed"
    wanted = [[locked(FIRST)], [locked(name) for name in NEEDED], ["--no-deps", locked(LAST), PEER]]
    listed = "\n".join(name for step in wanted for name in step)
    if mark.exists() and mark.read_text() == listed:
        return python
    say(f"installing {PEER} into {folder}")
    venv.create(folder, with_pip=True, clear=True)
    for step in wanted:
        command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet", *step]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise RuntimeError(errors[-1] if errors else f"pip install {' '.join(step)} failed")
    mark.write_text(listed)
    return python


def locked(name: str) -> str:
    """`name==version` as `requirements.lock` has it."""
    return re.search(rf"^{name}==\S+", (ROOT / "requirements.lock").read_text(), re.MULTILINE)[0]
