"""The receipt of a step that is made again, in a git repository where it has been committed."""

import json
import subprocess

import pytest

from gendistill.receipt import write_receipt

SPEC = {"kind": "softlabels", "id": "x-0123456789", "settings": {}, "code": {}, "inputs": {}, "source": {}}


@pytest.fixture
def committed(tmp_path, monkeypatch):
    """A folder with a step's file and its receipt, as committed by somebody."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs/softlabels/x-0123456789"
    folder.mkdir(parents=True)
    make_again(folder, b"labels", 1.0)
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "all"]):
        subprocess.run(["git", *command], check=True)
    return folder.relative_to(tmp_path)


def make_again(folder, content, seconds, **metrics):
    (folder / "softlabels.npy").write_bytes(content)
    write_receipt(folder, SPEC, ("softlabels.npy",), {"views": 9, **metrics}, {"seconds": seconds})
    return json.loads((folder / "receipt.json").read_text())


def test_the_same_files_leave_the_committed_receipt_as_it_is(committed):
    before = (committed / "receipt.json").read_bytes()
    (committed / "receipt.json").unlink()
    make_again(committed, b"labels", 2.0)
    assert (committed / "receipt.json").read_bytes() == before


def test_other_files_or_metrics_get_a_receipt_of_their_own(committed):
    assert make_again(committed, b"other labels", 2.0)["times"]["seconds"] == 2.0
    assert make_again(committed, b"labels", 3.0, loss=0.5)["times"]["seconds"] == 3.0


def test_a_committed_receipt_with_a_conflict_is_no_receipt(committed):
    (committed / "receipt.json").write_text("<<<<<<< ours\n{}\n=======\n{}\n>>>>>>> theirs\n")
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qam", "conflict"], check=True)
    assert make_again(committed, b"labels", 4.0)["times"]["seconds"] == 4.0
