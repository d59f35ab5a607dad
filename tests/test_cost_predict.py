"""What jobs are given: time, memory, GPU memory and disk."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from gendistill.cost.calibration import GENERIC_OF
from gendistill.cost.counts import Counts
from gendistill.cost.predict import expected_seconds, predict
from gendistill.cost.work import Pass, Work, work_of
from gendistill.plan import build_plan

CPU, GPU = GENERIC_OF["cpu"], GENERIC_OF["cuda"]
COUNTS = Counts(
    forward_flops=1e9,
    training_flops=3e9,
    activation_bytes=4e6,
    activation_bytes_bfloat16=2e6,
    largest_bytes=1e5,
    parameters=10_000_000,
    state_bytes=40_000_000,
    features=64,
    forward_kernels=100,
    training_kernels=300,
)
TRAINING = Work(
    "patriarch",
    counts=COUNTS,
    batch=100,
    training_steps=1000,
    trained=100_000,
    passes=(Pass(COUNTS, 10_000, 200, "auto"),),
    written={"model.safetensors": 40_000_000},
)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def with_coefficients(device, training, forward, **changes):
    each = {"auto": {"training": training, "forward": forward}, "float32": {"training": [9, 9, 9], "forward": [9, 9, 9]}}
    return dataclasses.replace(device, coefficients=each, **changes)


def test_seconds_by_hand():
    device = with_coefficients(GPU, [1e-5, 1e-13, 1e-12], [1e-6, 1e-14, 1e-13], start_seconds=7)
    training = 1000 * 300 * 1e-5 + 100_000 * 3e9 * 1e-13 + 100_000 * 4e6 * 1e-12
    looking = 50 * 100 * 1e-6 + 10_000 * 1e9 * 1e-14 + 10_000 * 4e6 * 1e-13
    files = 40_000_000 / 100e6
    assert expected_seconds(TRAINING, device) == pytest.approx(7 + training + looking + files)
    # Each save takes weights and momenta.
    saved = dataclasses.replace(TRAINING, checkpoints=3)
    assert expected_seconds(saved, device) == pytest.approx(7 + training + looking + files + 3 * 80_000_000 / 100e6)
    # Each of 35 words of a stream waits for the one before.
    unrolled = dataclasses.replace(TRAINING, unrolled=35, passes=())
    assert expected_seconds(unrolled, device) == pytest.approx(7 + training + 34 * 1000 * 300 * 1e-5 + files)


def test_photographs_are_decoded_beside_the_gpu_but_not_beside_the_cpu():
    photographs = dataclasses.replace(TRAINING, decoded=1e6, threads=4)
    seconds = [expected_seconds(photographs, device) - expected_seconds(TRAINING, device) for device in (GPU, CPU)]
    decoding = 1e6 * 0.015 / 4
    on_gpu = expected_seconds(TRAINING, GPU) - 60 - 0.4
    assert seconds == pytest.approx([decoding - on_gpu, decoding])


def test_more_threads_than_were_measured_are_not_counted_on_and_fewer_cost():
    device = with_coefficients(CPU, [0, 1e-10, 0], [0, 0, 0], start_seconds=0, threads=4)
    seconds = [expected_seconds(dataclasses.replace(TRAINING, threads=n, written={}), device) for n in (1, 2, 4, 8)]
    assert seconds == pytest.approx([4 * 30_000, 2 * 30_000, 30_000, 30_000])


def test_memory_has_room_for_what_is_known_to_be_held():
    weights, activations = 4 * 10_000_000 * 3, 100 * 4e6
    on_cpu, on_gpu = predict(TRAINING, CPU), predict(TRAINING, GPU)
    assert on_cpu.memory_mb > CPU.base_memory_mb + (weights + activations) / 2**20
    assert on_gpu.gpu_memory_mb > GPU.gpu_context_mb + (weights + activations) / 2**20
    assert on_cpu.gpu_memory_mb == 0
    assert on_gpu.memory_mb < GPU.base_memory_mb + activations / 2**20
    assert on_cpu.disk_mb == pytest.approx((40_000_000 + 2 * 80_000_000) / 2**20)
    half = dataclasses.replace(GPU, number_formats={"auto": "bfloat16", "float32": "float32"})
    assert on_gpu.gpu_memory_mb - predict(TRAINING, half).gpu_memory_mb == pytest.approx(1.25 * 100 * 2e6 / 2**20)


@pytest.mark.parametrize("device", [CPU, GPU], ids=["cpu", "gpu"])
def test_another_attempt_gets_more(device):
    first, second, third = (predict(TRAINING, device, attempt) for attempt in (1, 2, 3))
    assert second.seconds == pytest.approx(2 * first.seconds)
    assert third.seconds == pytest.approx(3 * first.seconds)
    for name in ("memory_mb", "gpu_memory_mb"):
        assert getattr(third, name) == pytest.approx(1.5**2 * getattr(first, name))
    assert first.seconds > 1.5 * expected_seconds(TRAINING, device)
    assert first.disk_mb == third.disk_mb


def test_what_is_unknown_stays_unknown():
    work = Work("patriarch", unknown="nobody knows")
    assert math.isnan(expected_seconds(work, GPU))
    assert all(math.isnan(value) for value in dataclasses.astuple(predict(work, GPU)))


@pytest.mark.parametrize("device", [CPU, GPU], ids=["cpu", "gpu"])
@pytest.mark.parametrize("override", ["recipe.epochs=30", "network.width=32", "dataset.train_per_class=200"])
def test_more_work_is_predicted_to_take_more(override, device):
    few, many = (patriarch(overrides, device) for overrides in ((), (override,)))
    assert many.seconds > few.seconds
    if override == "recipe.epochs=30":
        assert (many.memory_mb, many.gpu_memory_mb, many.disk_mb) == (few.memory_mb, few.gpu_memory_mb, few.disk_mb)
    else:
        name = "memory_mb" if device is CPU else "gpu_memory_mb"
        assert getattr(many, name) > getattr(few, name)


@pytest.mark.parametrize("device", [CPU, GPU], ids=["cpu", "gpu"])
def test_larger_batches_take_more_memory_and_fewer_kernels(device):
    small, large = (patriarch((f"recipe.batch_size={size}",), device) for size in (25, 250))
    name = "memory_mb" if device is CPU else "gpu_memory_mb"
    assert getattr(large, name) > getattr(small, name)
    assert large.seconds < small.seconds


def patriarch(overrides, device):
    plan = build_plan(["demo"], ("seeds=[0]", *overrides))
    return predict(work_of(plan, plan.steps[plan.roles["demo-ban-gen0-seed0"]]), device)


# A training in a process of its own, which then says what it has used.
RUN = """
import json, sys
from pathlib import Path
from gendistill.cost.used import used
from gendistill.execute import execute
for spec in json.loads(Path("specs.json").read_text()):
    assert execute(spec, "cpu") == 0
print(json.dumps(used()))
"""


@pytest.mark.parametrize("device", [CPU, GPU], ids=["cpu", "gpu"])
def test_gradients_by_the_images_take_twice_the_time_and_keep_the_graph(device):
    none, plain, by_images = (
        dataclasses.replace(TRAINING, batch=1, passes=passes)
        for passes in ((), (Pass(COUNTS, 10_000, 200, "auto"),), (Pass(COUNTS, 10_000, 200, "auto", by_images=True),))
    )
    took = [expected_seconds(work, device) - expected_seconds(none, device) for work in (plain, by_images)]
    assert took[1] == pytest.approx(2 * took[0])
    told = [predict(work, device) for work in (plain, by_images)]
    memory = [each.gpu_memory_mb or each.memory_mb for each in told]
    assert memory[1] - memory[0] > 200 * (COUNTS.activation_bytes_bfloat16 - 3 * COUNTS.largest_bytes) / 2**20


def test_a_training_takes_no_more_memory_than_predicted():
    """Nor less than a third of it: ResNet-20 of double width on 500 digits, 250 at a time, on the CPU."""
    overrides = ("seeds=[0]", "recipe.epochs=1", "recipe.batch_size=250", "network=resnet20", "network.width=32", "scratch=0")
    overrides += ("dataset.test_per_class=10", "recipe.precision=float32")
    plan = build_plan(["demo"], overrides)
    network = plan.steps[plan.roles["demo-ban-gen0-seed0"]]
    specs = [json.loads(plan.steps[name].to_json()) for name in (network.inputs["dataset"], network.name)]
    Path("specs.json").write_text(json.dumps(specs))
    run = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    took = json.loads(run.stdout.splitlines()[-1])
    # The activations alone are most of what the network takes.
    work = work_of(plan, network)
    assert work.batch * work.counts.activation_bytes > 400e6
    told = predict(work, dataclasses.replace(CPU, base_memory_mb=300))
    assert told.memory_mb / 3 < took["memory_mb"] <= told.memory_mb
    assert took["gpu_memory_mb"] is None


def test_a_teacher_that_shares_layers_is_counted_where_it_runs_online():
    passes = {}
    for soft_labels in ("stored", "online"):
        plan = build_plan(["ban_icml2018_table5"], ("scale=smoke", f"soft_labels={soft_labels}"))
        step = next(s for s in plan.of_kind("generation") if s.settings["network"].get("shares"))
        passes[soft_labels] = work_of(plan, step).passes
    assert len(passes["online"]) == len(passes["stored"]) + 1


def test_a_store_of_images_is_on_disk_and_not_in_memory():
    plans = [build_plan(["tolerant_teachers_table5"], (f"dataset.store={s}",), without_data=True) for s in ("null", "packed", 256)]
    steps = [[plan.of_kind("dataset")[0], plan.of_kind("patriarch")[0]] for plan in plans]
    data, training = zip(*([work_of(plan, step) for step in own] for plan, own in zip(plans, steps, strict=True)), strict=True)
    assert [work.data_bytes for work in training] == [training[0].data_bytes, 0, 0] and training[0].data_bytes > 0
    # Only images that are made smaller are decoded for it.
    assert [work.decoded > 0 for work in data] == [False, False, True]
    assert [work.threads for work in data] == [1, 8, 8]


def test_validation_images_count_where_they_are_looked_at():
    images = {}
    for held in (0, 5):
        plan = build_plan(["demo"], (f"dataset.validation_per_class={held}",))
        for kind in ("statistics", "transfer"):
            images[held, kind] = sum(look.images for look in work_of(plan, plan.of_kind(kind)[0]).passes)
    # Taken from 10 classes of training images.
    assert images[0, "statistics"] - images[5, "statistics"] == 50
    assert images[0, "transfer"] == images[5, "transfer"]


def test_several_processes_share_the_work_and_each_has_its_memory():
    device = with_coefficients(GPU, [1e-5, 1e-13, 1e-12], [1e-6, 1e-14, 1e-13], start_seconds=0)
    alone, four = dataclasses.replace(TRAINING, written={}), dataclasses.replace(TRAINING, written={}, processes=4)
    assert expected_seconds(four, device) == pytest.approx(expected_seconds(alone, device) / 4)
    assert predict(four, device).memory_mb == pytest.approx(4 * predict(alone, device).memory_mb)
    assert predict(four, device).gpu_memory_mb == predict(alone, device).gpu_memory_mb
