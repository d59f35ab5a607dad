"""Two processes (gloo, on the CPU) train one network: as one process does, to the rounding of sums."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from gendistill.data.on_disk import FileImages
from gendistill.data.sources import ArrayImages
from gendistill.data.views import ViewSpace
from gendistill.runtime import Runtime
from gendistill.training import loop
from gendistill.training.processes import Processes
from gendistill.training.resume import load_resume
from gendistill.training.run import train_network
from tests.conftest import ROOT
from tests.several_processes import EVALUATION_BATCH
from tests.several_processes import train as train_job
from tests.tiny import FROM_LABELS, FROM_TEACHER, RECIPE, read_history, write_dataset, write_teacher

pytestmark = pytest.mark.usefixtures("one_thread")
NETWORK = {"_target_": "gendistill.networks.wide_resnet.WideResNet", "depth": 10, "width": 1, "base": 4, "dropout": 0.3}
# 27 images: batches of 8 in micro-batches of 2, and a last one of 3 in two, of 2 images and of 1.
SHARED = {"batch_size": 8, "micro_batch": 2}
STEPS = 4
ALONE = Processes()


@pytest.fixture(autouse=True)
def _same_batches(monkeypatch):
    monkeypatch.setattr(loop, "EVALUATION_BATCH", EVALUATION_BATCH)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """The folders of a data set and of the soft labels of a teacher."""
    folder = tmp_path_factory.mktemp("inputs")
    dataset = write_dataset(folder / "dataset")
    settings = {"network": NETWORK, "objective": FROM_LABELS, "recipe": RECIPE, "seed": 0}
    train_network(settings, {"dataset": dataset}, folder / "teacher", Runtime("cpu"))
    return {"dataset": str(dataset), "softlabels": str(write_teacher(folder / "teacher", dataset)["softlabels"])}


def job(folder, inputs, objective=FROM_TEACHER, recipe=None, **more):
    settings = {"network": NETWORK, "objective": objective, "recipe": {**RECIPE, **SHARED, **(recipe or {})}, "seed": 0}
    return {"folder": str(folder), "inputs": inputs, "settings": {**settings, "generation": 1}, **more}


def with_two(*jobs, code=0):
    """Do jobs one after the other with two processes; return what they print."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.several_processes"],
        input=json.dumps(jobs),
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def assert_close(folder, other):
    """Equal to the rounding of sums: weights, statistics of batch norm, logits, losses and errors of each epoch."""
    for name in ("model.safetensors", "logits.safetensors"):
        found, expected = load_file(folder / name), load_file(other / name)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_allclose(found[key], value, rtol=1e-4, atol=1e-5, err_msg=key)
    rows, expected_rows = read_history(folder), read_history(other)
    for row, expected in zip(rows, expected_rows, strict=True):
        assert row.keys() == expected.keys()
        for key in row:
            assert float(row[key] or 0) == pytest.approx(float(expected[key] or 0), rel=1e-5), key


@pytest.fixture(scope="module")
def done(inputs, tmp_path_factory):
    """Trainings by one process and by two, and by one after the other; and what the two say."""
    folder = tmp_path_factory.mktemp("done")
    patch = pytest.MonkeyPatch()
    patch.setattr(loop, "EVALUATION_BATCH", EVALUATION_BATCH)
    train_job(job(folder / "one", inputs), ALONE)
    # A last batch of 3 images that is one micro-batch leaves process 1 without any.
    train_job(job(folder / "idle_one", inputs, recipe={"micro_batch": 4}), ALONE)
    train_job(job(folder / "one_two", inputs, stop=STEPS + 1), ALONE)
    jobs = [
        job(folder / "two", inputs),
        job(folder / "idle_two", inputs, recipe={"micro_batch": 4}),
        job(folder / "one_two", inputs),
        job(folder / "two_one", inputs, stop=STEPS + 2),
        job(folder / "diverged", inputs, FROM_LABELS, {"learning_rate": 1e30}),
    ]
    said = with_two(*jobs, code=2)
    resume = load_resume(folder / "two_one", "two_one")
    train_job(job(folder / "two_one", inputs), ALONE)
    patch.undo()
    return folder, said, resume


def test_two_processes_train_the_network_that_one_does(done):
    folder, _, _ = done
    assert_close(folder / "two", folder / "one")
    assert_close(folder / "idle_two", folder / "idle_one")
    start = load_file(folder / "one/model.safetensors")["stem.weight"]
    # Another size of micro-batches is another network: the comparison can tell.
    assert np.abs(start - load_file(folder / "idle_one/model.safetensors")["stem.weight"]).max() > 1e-3


@pytest.mark.parametrize("name", ["one_two", "two_one"])
def test_a_training_goes_on_with_another_number_of_processes(done, name):
    assert_close(done[0] / name, done[0] / "one")


def test_a_stop_asked_of_one_process_stops_both_at_the_same_step(done):
    _, said, resume = done
    assert "two_one: stopped in epoch 2 of 3, step 2; saved" in said.stdout
    assert (resume["epoch"], resume["step"]) == (1, 2)


def test_the_resume_checkpoint_is_that_of_one_process(done, inputs, tmp_path):
    train_job(job(tmp_path / "step", inputs, stop=STEPS + 2), ALONE)
    own, found = load_resume(tmp_path / "step", "step"), done[2]
    assert own.keys() == found.keys()
    torch.testing.assert_close(found["sums"], own["sums"], rtol=1e-5, atol=0)
    assert found["sums"][2] == 2
    torch.testing.assert_close(found["network"], own["network"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["momenta"], own["momenta"], rtol=1e-4, atol=1e-5)


def test_a_training_that_diverges_ends_with_one_message(done):
    assert "training diverged: the loss is not finite in epoch 1 of 3, step" in done[1].stderr
    assert "Traceback" not in done[1].stderr


def write_pictures(root, count):
    generator = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(generator.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(root / f"{i}.png")
    return [f"{i}.png" for i in range(count)]


def test_a_part_of_the_plain_images_is_that_part_of_all(tmp_path):
    names = write_pictures(tmp_path, 7)
    on_disk = FileImages(tmp_path, names, np.zeros(7, np.int64), 16, torch.device("cpu"), 2)
    pixels = torch.arange(7 * 4, dtype=torch.uint8).reshape(7, 1, 2, 2)
    for source in (on_disk, ArrayImages(pixels, torch.zeros(7), ViewSpace(0, False))):
        whole = torch.cat(list(source.plain(3)))
        for part in (slice(0, 3), slice(3, 6), slice(6, 9), slice(2, 7)):
            found = list(source.plain(3, part))
            assert [len(batch) for batch in found] == [3] * (len(whole[part]) // 3) + [len(whole[part]) % 3] * (
                len(whole[part]) % 3 > 0
            )
            assert torch.equal(torch.cat(found), whole[part])
        assert list(source.plain(3, slice(7, 9))) == []


@pytest.mark.parametrize(
    ("mistake", "how", "message"),
    [("fail", "ended with exit code 2; its messages:", "an image is missing"), ("die", "was ended by signal 9", "")],
)
def test_a_failure_of_one_process_ends_both_with_its_message(inputs, tmp_path, mistake, how, message):
    done = with_two(job(tmp_path / "step", inputs, recipe={"epochs": 1000}, **{mistake: True}), code=2)
    assert f"process 1 of a training by several processes {how}" in done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_without_micro_batches_two_processes_are_refused(inputs, tmp_path):
    done = with_two(job(tmp_path / "step", inputs, recipe={"micro_batch": None}), code=2)
    assert "recipe.micro_batch = None: a batch of recipe.batch_size = 8" in done.stderr
    assert not (tmp_path / "step").exists()
