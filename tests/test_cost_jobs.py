"""What jobs are given on a cluster, and what their receipts compare it with."""

import json
import math
from pathlib import Path

import pytest

from gendistill.cost import calibration
from gendistill.cost.calibration import GENERIC_OF, save_calibration
from gendistill.cost.jobs import SNAKEMAKES_MB, Job, job_of, side_by_side
from gendistill.cost.predict import expected_seconds, predict
from gendistill.cost.work import work_of
from gendistill.errors import SettingError
from gendistill.plan import build_plan
from tests.test_cost_predict import with_coefficients


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(calibration, "FOLDER", tmp_path / "device")


@pytest.fixture
def plan():
    return build_plan(["demo"])


def patriarch(plan):
    return plan.steps[plan.roles["demo-ban-gen0-seed0"]]


def test_a_job_is_given_what_is_predicted_and_the_snakemakes_in_it(plan):
    step = patriarch(plan)
    found = job_of(plan, step, on_gpu=True)
    expected = predict(work_of(plan, step), GENERIC_OF["cuda"])
    assert found.minutes == math.ceil(expected.seconds / 60)
    assert found.memory_mb == math.ceil(expected.memory_mb) + SNAKEMAKES_MB
    assert found.gpu_memory_mb == math.ceil(expected.gpu_memory_mb) > 0
    told = dict(pair.split("=") for pair in found.told.split(","))
    assert told["device"] == "generic-gpu"
    assert float(told["seconds"]) == pytest.approx(expected_seconds(work_of(plan, step), GENERIC_OF["cuda"]), abs=0.1)
    assert job_of(plan, step, on_gpu=False).gpu_memory_mb == 0


def test_another_attempt_is_given_more_and_tells_the_same(plan):
    first, third = (job_of(plan, patriarch(plan), True, attempt=n) for n in (1, 3))
    assert third.minutes >= 3 * first.minutes - 2 and third.memory_mb > 1.5 * first.memory_mb
    assert third.told == first.told


def test_a_device_counts_where_it_is_of_the_type_that_the_job_gets(plan):
    # So fast that nothing but the start takes time.
    fast = with_coefficients(GENERIC_OF["cuda"], [0, 0, 0], [0, 0, 0], slug="fast-gpu", gpu_total_mb=80_000, start_seconds=7)
    save_calibration(fast, calibration.FOLDER)
    save_calibration(with_coefficients(GENERIC_OF["cuda"], [1, 1, 1], [1, 1, 1], slug="slow-gpu"), calibration.FOLDER)
    on_gpu = job_of(plan, patriarch(plan), True, "fast-gpu")
    assert "device=fast-gpu" in on_gpu.told and on_gpu.gpu_total_mb == 80_000
    assert "device=generic-cpu" in job_of(plan, patriarch(plan), False, "fast-gpu").told
    # Nobody says which of the two it is.
    assert "device=generic-gpu" in job_of(plan, patriarch(plan), True).told
    with pytest.raises(SettingError, match=r"device = a100: .* Allowed: fast-gpu, slow-gpu, generic-gpu, generic-cpu.*site.yaml"):
        job_of(plan, patriarch(plan), True, "a100")


def test_of_a_data_set_that_nobody_knows_nothing_is_predicted_until_it_is_prepared():
    Path("mine.npz").touch()
    plan = build_plan(["demo"], ("dataset=npz", "dataset.path=mine.npz", "transfer=[]"))
    step = patriarch(plan)
    assert job_of(plan, step, True) is None
    receipt = Path("runs", step.inputs["dataset"], "receipt.json")
    receipt.parent.mkdir(parents=True)
    metrics = {"train_images": 100, "test_images": 50, "shape": [1, 8, 8], "classes": 10}
    receipt.write_text(json.dumps({"metrics": metrics, "outputs": {"dataset.safetensors": {"bytes": 10_000}}}))
    assert job_of(plan, step, True).minutes > 0


def test_side_by_side_memory_adds_up_and_on_a_gpu_time_too():
    jobs = [Job(10, 1000, 700, 80_000, "a"), Job(30, 2000, 900, 80_000, "b")]
    assert side_by_side(jobs, on_gpu=True) == Job(40, 3000, 1600, 80_000, "")
    assert side_by_side(jobs, on_gpu=False) == Job(30, 3000, 1600, 80_000, "")
