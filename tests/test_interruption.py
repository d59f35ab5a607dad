"""Killed and stopped trainings go on, with the same bits as if nothing had happened: real processes, real Snakemake."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import LONG_TRAINING


@pytest.fixture
def long_training(checkout):
    (checkout.folder / "config/experiment/long.yaml").write_text(LONG_TRAINING)
    return checkout


def start_snakemake(checkout):
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--config", "experiments=[long]"]
    return subprocess.Popen(
        command,
        cwd=checkout.folder,
        env=checkout.env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def find_step_process(checkout):
    """The process of the training step that runs in the copy."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                where = (folder / "cwd").readlink()
            except OSError:
                continue
            if where == checkout.folder and b"patriarch" in words and words[0].endswith((b"python", b"python3", b"python3.11")):
                return int(folder.name)
    return None


def weights(checkout):
    (path,) = checkout.folder.glob("runs/patriarch/*/model.safetensors")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def log_text(checkout):
    # Snakemake removes the old one before a job starts.
    return "".join(path.read_text() for path in checkout.folder.glob("logs/patriarch/*.log"))


@pytest.mark.chains
def test_killed_stopped_and_undisturbed_trainings_end_with_the_same_bits(long_training, tmp_path):
    checkout = long_training
    resume = lambda: list(checkout.folder.glob("runs/patriarch/*/resume.pt"))  # noqa: E731

    process = start_snakemake(checkout)
    wait_for(resume, process)
    step = find_step_process(checkout)
    process.kill()
    os.kill(step, signal.SIGKILL)
    process.communicate()
    assert resume(), "a kill must leave the checkpoint"
    assert not list(checkout.folder.glob("runs/patriarch/*/receipt.json"))

    checkout.snakemake("--unlock", experiments="long")
    process = start_snakemake(checkout)
    wait_for(lambda: find_step_process(checkout) and "resumed after" in log_text(checkout), process)
    os.kill(find_step_process(checkout), signal.SIGTERM)
    assert process.wait(timeout=120) != 0
    assert "Run the same command again to go on" in log_text(checkout)
    assert resume(), "Snakemake's clean-up must not take the checkpoint"

    checkout.snakemake(experiments="long")
    assert "resumed after" in log_text(checkout)
    assert not resume()
    disturbed = weights(checkout)

    (receipt,) = checkout.folder.glob("runs/patriarch/*/receipt.json")
    for path in receipt.parent.iterdir():
        path.unlink()
    checkout.snakemake(str(receipt.relative_to(checkout.folder)), experiments="long")
    assert "resumed after" not in log_text(checkout)
    assert weights(checkout) == disturbed


@pytest.mark.chains
def test_restarted_snakemake_waits_for_the_step_that_still_runs(long_training):
    checkout = long_training
    process = start_snakemake(checkout)
    wait_for(lambda: list(checkout.folder.glob("runs/patriarch/*/resume.pt")), process)
    first = find_step_process(checkout)
    process.kill()
    process.wait()
    # Nobody reads what the step prints, as if the terminal had been closed.
    process.stdout.close()
    # However slow the machine: the training goes on when the second process waits for it, and not before.
    os.kill(first, signal.SIGSTOP)
    assert find_step_process(checkout) == first, "the step outlives Snakemake"
    checkout.snakemake("--unlock", experiments="long")
    second = start_snakemake(checkout)
    wait_for(lambda: f"waiting for process {first} " in log_text(checkout), second)
    os.kill(first, signal.SIGCONT)
    output = second.communicate()[0]
    assert second.returncode == 0, output
    assert "another process has finished this step" in log_text(checkout)
    assert "epoch" not in log_text(checkout)


def test_sigterm_has_an_exit_code_of_its_own(long_training):
    checkout = long_training
    checkout.run("gendistill.train", "experiment=long", "run.generation=0", check=False)
    checkout.snakemake("--until", "dataset", experiments="long")
    command = [sys.executable, "-m", "gendistill.train", "experiment=long", "run.generation=0"]
    process = subprocess.Popen(
        command, cwd=checkout.folder, env=checkout.env(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    wait_for(lambda: list(checkout.folder.glob("runs/patriarch/*/resume.pt")), process)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 75, output
    assert "Traceback" not in output
