"""`python -m gendistill STEP --processes 2`: one lock, one log, one receipt; asked to stop, both stop and one saves."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from gendistill.execute import EXIT_INTERRUPTED, EXIT_USER_ERROR
from gendistill.files import is_locked, read_receipt
from tests.conftest import ROOT
from tests.test_training_distributed import assert_close
from tests.tiny import spec_of, write_dataset

SHARED = {"batch_size": 8, "micro_batch": 4}
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture
def folder(tmp_path):
    write_dataset(tmp_path / "runs/dataset/tiny")
    return tmp_path


def start(folder, name, *options, before=(), kind="patriarch", **recipe):
    """Start a step in a folder, under another name for each test of it."""
    (folder / f"{name}.json").write_text(json.dumps(spec_of(name, kind, **SHARED, **recipe)))
    return subprocess.Popen(
        [sys.executable, *before, "-m", "gendistill", kind, "--spec", f"@{name}.json", "--device", "cpu", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, code=0):
    messages = process.communicate(timeout=120)[1]
    assert process.returncode == code, messages
    return messages


def test_processes_of_ours_and_of_torchrun_train_the_network_of_one(folder):
    finish(start(folder, "one"))
    messages = [finish(start(folder, "two", "--processes", "2")), finish(start(folder, "torchrun", before=TORCHRUN))]
    for name in ("two", "torchrun"):
        assert_close(folder / "runs/patriarch" / name, folder / "runs/patriarch/one")
        assert sorted(read_receipt(folder / "runs/patriarch" / name)["outputs"]) == [
            "history.csv",
            "logits.safetensors",
            "model.safetensors",
        ]
    assert [text.count("epoch 3") for text in messages] == [1, 1]


def test_a_signal_stops_both_and_one_goes_on(folder):
    run, longer = folder / "runs/patriarch/step", {"epochs": 30, "evaluate_every": 30, "learning_rate": 1e-3}
    finish(start(folder, "whole", **longer))
    process = start(folder, "step", "--processes", "2", **longer)
    until = time.monotonic() + 60
    while not (run / "resume.pt").exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert is_locked(run)
    process.send_signal(signal.SIGTERM)
    messages = finish(process, EXIT_INTERRUPTED)
    assert messages.count("saved. Run the same command again to go on.") == 1
    assert (run / "resume.pt").exists()
    assert not (run / "receipt.json").exists()
    assert not is_locked(run)
    assert "resumed after" in finish(start(folder, "step", **longer))
    assert_close(run, folder / "runs/patriarch/whole")
    assert not (run / "resume.pt").exists()


def test_a_step_for_one_process_refuses_two(folder):
    messages = finish(start(folder, "text", "--processes", "2", kind="language_patriarch"), EXIT_USER_ERROR)
    assert "runtime.processes = 2: a step language_patriarch is done by one process: set it to 1" in messages
    assert "Traceback" not in messages
    # torchrun itself ends with 1.
    messages = finish(start(folder, "text", before=TORCHRUN, kind="dataset"), 1)
    explained = "torchrun started 2 processes: a step dataset is done by one process: start it without torchrun."
    # It may stop the other before that has said so too.
    assert explained in messages and "runtime.processes" not in messages
    assert not (folder / "runs/dataset/text").exists()


def test_a_rank_that_other_software_set_is_not_torchruns(folder, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    finish(start(folder, "step"))
    assert (folder / "runs/patriarch/step/receipt.json").exists()


def test_a_damaged_checkpoint_is_put_aside_once(folder):
    run = folder / "runs/patriarch/step"
    run.mkdir(parents=True)
    # So large that one process still reads it when the other is done with it.
    (run / "resume.pt").write_bytes(os.urandom(50_000_000))
    finish(start(folder, "step", "--processes", "2"))
    assert (run / "resume.pt.corrupt").exists() and (run / "receipt.json").exists()


def test_a_process_can_train_with_another_one_after_the_other(folder):
    start(folder, "first").communicate()
    code = """
import json, sys
from gendistill.execute import execute
for name in ("a", "b"):
    spec = json.load(open("first.json")) | {"id": name}
    code = execute(spec, "cpu", processes=2)
    assert code == 0, code
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for name in ("a", "b"):
        assert_close(folder / "runs/patriarch" / name, folder / "runs/patriarch/first")
