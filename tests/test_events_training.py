"""Event files of real trainings: what they have is what `history.csv` has, also after a training was killed and went on."""

import csv
import json
import subprocess
import sys

import pytest

from gendistill.events import event_writer
from gendistill.runtime import Runtime
from tests.test_events import read_events
from tests.tiny import spec_of, train, write_dataset

pytestmark = pytest.mark.usefixtures("one_thread")


def runtime_that_is_killed_after(steps, folder):
    """With event files; None: it is not killed."""
    runtime = Runtime("cpu")
    runtime.record = event_writer(folder, print)
    done = []

    def progress(*_):
        done.append(None)
        if len(done) == steps:
            raise KeyboardInterrupt

    runtime.progress = progress
    return runtime


def test_events_of_a_killed_and_resumed_training_are_its_history(tmp_path):
    dataset = write_dataset(tmp_path / "dataset")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "step", dataset, runtime=runtime_that_is_killed_after(10, tmp_path / "events"))
    # While it was trained: two epochs of 4 steps each.
    assert {epoch for epoch, *_ in read_events(tmp_path / "events")[0]} == {1, 2}
    train(tmp_path / "step", dataset, runtime=runtime_that_is_killed_after(None, tmp_path / "events"))
    rows = list(csv.DictReader((tmp_path / "step/history.csv").read_text().splitlines()))
    expected = {(int(row["epoch"]), tag): float(text) for row in rows for tag, text in row.items() if text and tag != "epoch"}
    assert len(rows) == 3 and any(tag == "test_error_pct" for _, tag in expected)
    scalars, _ = read_events(tmp_path / "events")
    assert len(scalars) == len(expected)
    assert {(epoch, tag): value for epoch, tag, value in scalars} == {
        key: pytest.approx(v, rel=1e-6) for key, v in expected.items()
    }


# Run steps with and without event files; print whether their module was imported.
RUN = """
import json, sys
from gendistill.execute import execute
for spec, tensorboard in json.loads(sys.stdin.read()):
    assert execute(spec, "cpu", tensorboard=tensorboard) == 0
    print("gendistill.events" in sys.modules)
"""


def test_a_step_writes_event_files_only_if_it_is_asked_to(tmp_path):
    write_dataset(tmp_path / "runs/dataset/tiny")
    steps = [(spec_of("without", epochs=1), False), (spec_of("with", epochs=1), True)]
    done = subprocess.run([sys.executable, "-c", RUN], cwd=tmp_path, input=json.dumps(steps), capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"], done.stderr
    assert [path.name for path in (tmp_path / "logs/tensorboard/patriarch").iterdir()] == ["with"]
    assert {epoch for epoch, *_ in read_events(tmp_path / "logs/tensorboard/patriarch/with")[0]} == {1}
