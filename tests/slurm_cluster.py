"""A project whose Snakemake submits to the real one-node Slurm of tests/slurm."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT, Checkout

# Exit code of start-slurm.sh.
NO_PACKAGES = 3
SITE = "partition: main\naccount: none\ngpu_type: any\n"


@dataclass
class OnSlurm(Checkout):
    """A copy of the project with a site's settings."""

    def start(self, *arguments: str, experiments: str, profile: str = "slurm") -> subprocess.Popen:
        """Start Snakemake on the cluster; it looks at its jobs each second."""
        command = [sys.executable, str(ROOT / "tests/slurm/fast_poll.py"), "--profile", profile, *arguments]
        command += ["--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10"]
        log = open(self.folder / "snakemake.log", "a")  # noqa: SIM115
        return subprocess.Popen(
            [*command, "--config", f"experiments=[{experiments}]"],
            cwd=self.folder,
            env=self.env(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def finish(self, process: subprocess.Popen, seconds: int = 400) -> str:
        """Wait for a Snakemake that must succeed; return what it wrote."""
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            # A Snakemake that hangs ignores all else.
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f"Snakemake hangs:\n{self.said()[-3000:]}") from None
        assert process.returncode == 0, self.said()[-3000:]
        return self.said()

    def said(self) -> str:
        return (self.folder / "snakemake.log").read_text()

    def resume_files(self) -> list[Path]:
        return list(self.folder.glob("runs/patriarch/*/resume.pt"))

    def log_text(self) -> str:
        return "".join(path.read_text() for path in self.folder.glob("logs/patriarch/*.log"))

    def jobs_of(self, rule: str, state: str = "") -> list[str]:
        """The numbers of this project's jobs of a rule, of a state such as RUNNING if one is named, the newest last."""
        lines = slurm("squeue", "--noheader", "--states=all", "--format=%i|%T|%Z|%k").splitlines()
        rows = [line.split("|") for line in lines]
        mine = [(number, now) for number, now, where, comment in rows if where == str(self.folder) and f"rule_{rule}_" in comment]
        return sorted((number for number, now in mine if state in now), key=int)

    def training_process(self) -> int:
        """The process that holds the lock of the training, as it wrote there."""
        (lock,) = self.folder.glob("runs/patriarch/*/.lock")
        return int(lock.read_text().split()[0])

    def weights(self) -> str:
        (path,) = self.folder.glob("runs/patriarch/*/model.safetensors")
        return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def running_slurm(scripts: Path, state: Path) -> Iterator[Path]:
    """A Slurm that runs for the block, in the folder `state`; the test is skipped only where its packages cannot be had."""
    started = subprocess.run(["bash", scripts / "start-slurm.sh", state], capture_output=True, text=True)
    try:
        if started.returncode == NO_PACKAGES:
            pytest.skip(f"a Slurm cannot be installed here: {started.stderr[-500:]}")
        if started.returncode:
            pytest.fail(f"Slurm does not start:\n{started.stdout}{started.stderr}", pytrace=False)
        yield state
    finally:
        subprocess.run(["bash", scripts / "stop-slurm.sh", state, "--purge"], check=True)


def wait_for(condition: Callable[[], object], process: subprocess.Popen | None = None, seconds: int = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, "Snakemake ended"
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


def slurm(*command: str) -> str:
    """What a command of Slurm's prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def about(job: str) -> dict[str, str]:
    """What `scontrol show job` says of a job."""
    return dict(re.findall(r"(\S+?)=(\S*)", slurm("scontrol", "show", "job", job)))
