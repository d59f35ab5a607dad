"""The receipt of a step that is made again, in a git repository where it has been committed."""

import json
import subprocess
from pathlib import Path

import pytest

from gendistill.receipt import write_receipt

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
