"""`gendistill cost`: what experiments cost, what is done here, and what can be fetched."""

import json
import re
from pathlib import Path

import pytest

from gendistill.cost import calibration
from gendistill.cost.calibration import GENERIC_OF
from gendistill.cost.predict import expected_seconds
from gendistill.cost.report import cost_table, costs_of, to_do
from gendistill.cost.work import work_of
from gendistill.errors import SettingError
from gendistill.plan import build_plan
from gendistill.plan.step import LARGE

# One lineage: a patriarch and two generations.
CHAIN = ("seeds=[0]", "scratch=0", "transfer=[]", "~lineages.tolerant", "lineages.ban.generations=2")
GPU = GENERIC_OF["cuda"]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(calibration, "FOLDER", tmp_path / "device")


@pytest.fixture
def plan():
    return build_plan(["demo"], CHAIN)


def rows_of(text):
    """For each row its cells, by the heads of the table."""
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return {row[0]: dict(zip(table[0], row, strict=True)) for row in table[2:]}


def finish(step, shared=False):
    """Leave what a step leaves; of a shared one, the large files only as pointers."""
    for file in map(Path, step.files):
        file.parent.mkdir(parents=True, exist_ok=True)
        (file.with_name(f"{file.name}.dvc") if shared and file.name in LARGE else file).touch()


def step_of(plan, role):
    return plan.steps[plan.roles[f"demo-{role}"]]


def hours_of(plan, *roles):
    return sum(expected_seconds(work_of(plan, step_of(plan, role)), GPU) for role in roles) / 3600


def test_a_plan_of_which_nothing_is_done(plan):
    row = rows_of(cost_table(plan))["demo"]
    networks = [f"ban-gen{k}-seed0" for k in range(3)]
    labels = [f"ban-softlabels{k}-seed0" for k in range(2)]
    statistics = [f"{name}-statistics" for name in networks]
    # Data set, networks, labels, statistics, three ensembles, tables, claims and five figures.
    assert (row["networks"], row["steps"], row["done"], row["to fetch"]) == ("3", str(1 + 3 + 2 + 3 + 3 + 1 + 1 + 5), "0", "0")
    on_gpu = hours_of(plan, *networks, *labels, *statistics)
    assert float(row["GPU-hours"]) == pytest.approx(on_gpu, abs=0.005)
    assert row["left"] == row["GPU-hours"]
    chain = hours_of(plan, "dataset-mnist5k", *networks, *labels, "ban-gen2-seed0-statistics", "tables")
    assert float(row["longest chain, hours"]) == pytest.approx(chain, abs=0.005)
    assert float(row["hours on 1 GPU"]) > float(row["longest chain, hours"])


def test_more_gpus_take_as_long_as_the_longest_chain_at_the_least(plan):
    few, many = (rows_of(cost_table(plan, gpus))["demo"] for gpus in (1, 1000))
    assert many["hours on 1000 GPUs"] == many["longest chain, hours"] == few["longest chain, hours"]
    assert many["GPU-hours"] == few["GPU-hours"]
    with pytest.raises(SettingError, match=r"--gpus 0: must be at least 1"):
        cost_table(plan, 0)


def test_what_is_done_or_shared_is_not_left(plan):
    finish(step_of(plan, "dataset-mnist5k"))
    finish(step_of(plan, "ban-gen0-seed0"))
    finish(step_of(plan, "ban-softlabels0-seed0"), shared=True)
    row = rows_of(cost_table(plan))["demo"]
    assert (row["done"], row["to fetch"]) == ("2", "1")
    left = [f"ban-gen{k}-seed0" for k in (1, 2)] + ["ban-softlabels1-seed0", *(f"ban-gen{k}-seed0-statistics" for k in range(3))]
    assert float(row["left"]) == pytest.approx(hours_of(plan, *left), abs=0.005)
    assert rows_of(cost_table(plan))["left to do"]["networks"] == "2"


def test_what_nothing_left_needs_is_not_left(plan):
    """Soft labels of a generation whose student is done, and everything behind what the report shows, if that is done."""
    costs = costs_of(plan, GPU)
    names = {role.removeprefix("demo-"): name for role, name in plan.roles.items()}
    done = {names[f"ban-gen{k}-seed0"] for k in range(3)} | {names["dataset-mnist5k"]}
    left = to_do(plan, done)
    assert names["ban-softlabels0-seed0"] not in left
    assert names["ban-gen1-seed0-statistics"] in left
    assert to_do(plan, {step.name for step in plan.shown()}) == set()
    assert to_do(plan, set()) == set(plan.steps) == set(costs.work)


def test_half_a_step_is_not_done(plan):
    network = step_of(plan, "ban-gen0-seed0")
    finish(network)
    Path(network.folder, "model.safetensors").unlink()
    row = rows_of(cost_table(plan))["demo"]
    assert (row["done"], row["to fetch"]) == ("0", "0")


def test_shared_steps_count_once():
    plan = build_plan(["tolerant_teachers_table1", "tolerant_teachers_table3"], without_data=True)
    rows = rows_of(cost_table(plan))
    one, other, both = (rows[name] for name in ("tolerant_teachers_table1", "tolerant_teachers_table3", "all, shared steps once"))
    assert (one["networks"], other["networks"], both["networks"]) == ("5", "24", "24")
    assert int(both["steps"]) == len(plan.steps) < int(one["steps"]) + int(other["steps"])
    assert float(both["GPU-hours"]) < float(one["GPU-hours"]) + float(other["GPU-hours"])
    # 6.72 GB: four dumps of 50,000 images, 162 views and 100 classes, CIFAR-100, and five networks with their logits.
    dumps, data, logits = 4 * 50_000 * 162 * 100 * 2, 60_000 * (3072 + 8), 5 * 10_000 * 408
    assert float(one["storage, GB"]) == pytest.approx((dumps + data + logits) / 1e9, abs=0.05)


def test_what_is_unknown_is_said():
    plan = build_plan(["demo"], (*CHAIN, "dataset=npz"), without_data=True)
    said = cost_table(plan)
    row = rows_of(said)["demo"]
    assert row["GPU-hours"].startswith("> ")
    assert row["left"].startswith("> ")
    assert re.search(r"leaves out what is unknown, 9 steps: the size of the data set npz is known once dataset/npz-\w+ is", said)
    assert "unknown" not in cost_table(build_plan(["demo"], CHAIN))


def test_the_calibration_is_named(plan):
    assert "Device: a cautious guess for any GPU" in cost_table(plan)
    on_cpu = cost_table(plan, device="generic-cpu")
    assert "a cautious guess for any CPU" in on_cpu
    assert "device-hours" in rows_of(on_cpu)["demo"]
    with pytest.raises(SettingError, match="device = h100: there is no such calibration"):
        cost_table(plan, device="h100")


def test_finished_steps_tell_how_good_their_predictions_were(plan):
    assert "finished steps with a prediction" not in cost_table(plan)
    predicted = {"device": "generic-gpu", "seconds": 100.0, "memory_mb": 4000, "gpu_memory_mb": 900}
    for role, seconds, memory in (("ban-gen0-seed0", 10, 1000.0), ("ban-gen1-seed0", 40, 3000.0), ("ban-gen2-seed0", 20, 2000.0)):
        step = step_of(plan, role)
        finish(step)
        used = {"memory_mb": memory, "gpu_memory_mb": None, "gpu_reserved_mb": None}
        receipt = {"times": {"seconds": seconds}, "resources": {"predicted": predicted, "used": used}}
        Path(step.receipt).write_text(json.dumps(receipt))
    # Of one that was run without, and one that is damaged, nothing is told.
    finish(step_of(plan, "ban-softlabels0-seed0"))
    Path(step_of(plan, "ban-softlabels0-seed0").receipt).write_text('{"times": {"seconds": 3}, "resources": {"predicted": null}}')
    finish(step_of(plan, "ban-softlabels1-seed0"))
    said = cost_table(plan)
    assert "Of 3 finished steps with a prediction, the time was 0.20 (0.10 to 0.40) times the expected one" in said
    assert "the memory 0.50 (0.25 to 0.75) times what was predicted (median and range)" in said
