"""The receipt of a step: what it tells of memory, and what stays of one that was committed where the step is made again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gendistill.receipt import write_receipt
from tests.tiny import spec_of, write_dataset

OUTPUTS = ("model.safetensors", "history.csv")


@pytest.fixture
def committed(tmp_path, monkeypatch):
    """A folder with a network, its history and its receipt, as committed by somebody, and one with statistics."""
    monkeypatch.chdir(tmp_path)
    train_again(b"weights", 1.0)
    evaluate_again(1.0, loss=0.5)
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "all"]):
        subprocess.run(["git", *command], check=True)
    return tmp_path / "runs"


def spec(kind):
    return {"kind": kind, "id": "x-0123456789", "settings": {}, "code": {}, "inputs": {}, "source": {}}


def train_again(weights, seconds):
    """The receipt of a network; how long it took is also in its metrics and in its history."""
    folder = Path("runs/generation/x-0123456789")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "history.csv").write_text(f"seconds\n{seconds}\n")
    write_receipt(folder, spec("generation"), OUTPUTS, {"images_per_second": 9 / seconds}, {"seconds": seconds})
    return json.loads((folder / "receipt.json").read_text())


def evaluate_again(seconds, **metrics):
    folder = Path("runs/statistics/x-0123456789")
    folder.mkdir(parents=True, exist_ok=True)
    write_receipt(folder, spec("statistics"), (), metrics, {"seconds": seconds})
    return json.loads((folder / "receipt.json").read_text())


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_result_leaves_what_is_committed_as_it_is(committed):
    before = contents(committed)
    for path in before:
        path.unlink()
    assert train_again(b"weights", 2.0)["times"]["seconds"] == 1.0
    assert evaluate_again(2.0, loss=0.5)["times"]["seconds"] == 1.0
    assert contents(committed) == before


def test_another_result_gets_a_receipt_of_its_own(committed):
    assert train_again(b"other weights", 2.0)["times"]["seconds"] == 2.0
    assert (committed / "generation/x-0123456789/history.csv").read_text() == "seconds\n2.0\n"
    assert evaluate_again(3.0, loss=0.6)["times"]["seconds"] == 3.0


@pytest.mark.parametrize("name", ["receipt.json", "history.csv"])
def test_what_was_committed_with_a_conflict_is_not_put_back(committed, name):
    (committed / "generation/x-0123456789" / name).write_text("<<<<<<< ours\n{}\n=======\n{}\n>>>>>>> theirs\n")
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qam", "conflict"], check=True)
    assert train_again(b"weights", 4.0)["times"]["seconds"] == 4.0
    assert (committed / "generation/x-0123456789/history.csv").read_text() == "seconds\n4.0\n"


# Run a command, and print the most memory that it had, in MiB, as the system counts it: in KiB, on macOS in bytes. By a small
# process, as a new one starts with what the process had that started it.
WATCHED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))
"""


def test_a_step_tells_what_was_predicted_and_what_it_used(tmp_path):
    write_dataset(tmp_path / "runs/dataset/tiny")
    step = [sys.executable, "-m", "gendistill", "patriarch", "--spec", json.dumps(spec_of("step", epochs=1)), "--device", "cpu"]
    step += ["--predicted", "device=some-cpu,seconds=12.5,memory_mb=640,gpu_memory_mb=0"]
    done = subprocess.run([sys.executable, "-c", WATCHED, *step], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    resources = json.loads((tmp_path / "runs/patriarch/step/receipt.json").read_text())["resources"]
    assert resources["predicted"] == {"device": "some-cpu", "seconds": 12.5, "memory_mb": 640, "gpu_memory_mb": 0}
    # The receipt is written a moment before the end.
    assert resources["used"].pop("memory_mb") == pytest.approx(float(done.stdout), rel=0.05)
    assert resources["used"] == {"gpu_memory_mb": None, "gpu_reserved_mb": None}
