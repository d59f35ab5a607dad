"""What `gendistill status` tells of done, running, stopped and failed steps, from files alone."""

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gendistill.files import only_one
from gendistill.plan import build_plan
from gendistill.status import status
from gendistill.status.logs import read_log, read_progress

ROLE = "demo-ban-gen1-seed0"


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """The plan of the demo in an empty directory, on a machine without Slurm."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    return build_plan(["demo"])


def step_of(plan, role=ROLE):
    return plan.steps[plan.roles[role]]


def finish(step):
    for path in map(Path, step.files):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write_log(step, *lines, age=0.0):
    path = Path("logs", step.kind, f"{step.id}.log")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    os.utime(path, (time.time() - age,) * 2)
    return path


def save_checkpoint(step):
    Path(step.folder).mkdir(parents=True, exist_ok=True)
    Path(step.folder, "resume.pt").touch()


def counts(text):
    """The first table as {experiment: {column: number}}; columns are at least three spaces apart."""
    lines = text.partition("\n\n")[0].splitlines()
    names = lines[0].split("   ")
    names = [name.strip() for name in names if name.strip()]
    rows = {line.split("   ")[0].strip(): line.split("   ")[1:] for line in lines[1:]}
    cells = {name: [cell.strip() for cell in row if cell.strip()] for name, row in rows.items()}
    return {
        name: dict(zip(names, (0 if c == "-" else int(c.replace(",", "")) for c in row), strict=True))
        for name, row in cells.items()
    }


def line_with(text, word):
    (line,) = [line for line in text.splitlines() if word in line]
    return line


def test_nothing_is_done_and_nothing_runs(plan):
    text = status(plan)
    assert counts(text) == {"demo": {"steps": len(plan.steps), "done": 0, "not started": len(plan.steps)}}
    assert text.endswith("\n\nSnakemake does not run in this directory.")
    Path(".snakemake/locks").mkdir(parents=True)
    Path(".snakemake/locks/0.output.lock").touch()
    assert "Snakemake" not in status(plan)


def test_all_is_done_in_two_lines(plan):
    for step in plan.steps.values():
        finish(step)
    text = status(plan)
    assert counts(text) == {"demo": {"steps": len(plan.steps), "done": len(plan.steps)}}
    assert len(text.splitlines()) == 2


def test_a_step_without_one_of_its_files_is_not_done(plan):
    for step in plan.steps.values():
        finish(step)
    Path(step_of(plan, "demo-tables").folder, "tables.json").unlink()
    assert counts(status(plan))["demo"] == {"steps": len(plan.steps), "done": len(plan.steps) - 1, "not started": 1}


def test_each_experiment_has_a_line_and_shared_steps_count_once_together(plan):
    both = build_plan(["demo", "pydoc"])
    own = {name: len(build_plan([name]).steps) for name in ("demo", "pydoc")}
    found = counts(status(both))
    assert {name: found[name]["steps"] for name in own} == own
    assert found["all together"]["steps"] == len(both.steps)


def test_a_running_training_tells_epoch_rate_time_and_process(plan):
    step = step_of(plan)
    epochs = step.settings["recipe"]["epochs"]
    write_log(
        step,
        "10:00:00 generation x",
        "10:00:02 75,002 parameters, float32 on cpu",
        "10:00:12 epoch 1  learning_rate 0.1  images_per_second 50",
        "10:00:22 epoch 2  learning_rate 0.1  images_per_second 50",
        f"10:00:30 1,400 of {500 * epochs:,} images (3 %), 50 images/s, 00:00:01 left",
    )
    with only_one(Path(step.folder), print):
        text = status(plan)
    assert counts(text)["demo"]["running"] == 1
    line = line_with(text, ROLE)
    assert f"epoch 3 of {epochs}   50 images/s" in line
    # (500 * epochs - 1,400) images at 50 a second.
    seconds = (500 * epochs - 1400) // 50
    assert (
        f"   0:{seconds // 60:02}:{seconds % 60:02} left" in line
        or f"   0:{(seconds - 1) // 60:02}:{(seconds - 1) % 60:02} left" in line
    )
    assert f"process {os.getpid()} on {platform.node()}" in line
    assert "since " in line and "Slurm" not in line
    assert "no word" not in line
    assert counts(status(plan))["demo"] == {"steps": len(plan.steps), "done": 0, "stopped": 1, "not started": len(plan.steps) - 1}


def test_lines_of_epochs_tell_the_time_left_across_midnight(plan):
    step = step_of(plan)
    path = write_log(
        step,
        "23:58:00 75,002 parameters, float32 on cpu",
        "23:58:30 resumed after 10 epochs and 7 steps",
        "23:58:40 epoch 11  learning_rate 0.1  train_loss 1.5  images_per_second 1200.4",
        "23:59:40 epoch 12  learning_rate 0.1  train_loss 1.5  images_per_second 1200.4",
        "00:00:40 epoch 13  learning_rate 0.1  train_loss 1.5  test_loss 1  images_per_second 1234.5",
        age=100,
    )
    told = read_progress(read_log(path), 20)
    assert (told.epoch, told.share, told.rate) == (14, 13 / 20, "1,234 images/s")
    # 7 epochs of 60 s, 100 s of which have passed since.
    assert told.seconds_left == pytest.approx(320, abs=3)
    lines = path.read_text().splitlines()
    write_log(step, *lines[:3])
    # One epoch alone: 10 s since it was resumed, for each of the 9 that are left.
    assert read_progress(read_log(path), 20).seconds_left == pytest.approx(90, abs=3)


def test_a_long_time_left_is_not_cut_at_a_day(plan):
    path = write_log(step_of(plan), "10:00:30 1,000 of 10,000,000 images (0 %), 100 images/s, 03:46:30 left")
    assert read_progress(read_log(path), 0).seconds_left == pytest.approx(99990, abs=3)
    write_log(step_of(plan), "10:00:30 1 of 10 images (0 %), 0 images/s, 03:46:30 left")
    assert read_progress(read_log(path), 0).seconds_left is None


def test_what_a_second_process_left_of_a_log_is_read(plan):
    path = write_log(step_of(plan), "10:00:00 waiting for process 5 on node")
    with open(path, "ab") as file:
        file.seek(10_000, os.SEEK_END)
        file.write(b"10:10:00 epoch 3  learning_rate 0.1  images_per_second 50\n")
    path.write_bytes(path.read_bytes().ljust(30_000, b"\0") + b"10:10:00 epoch 4  learning_rate 0.1  images_per_second 60\n\xff\n")
    assert read_progress(read_log(path), 20).epoch == 5


def test_a_step_that_begins_and_one_that_is_silent(plan):
    step = step_of(plan, "demo-ban-softlabels0-seed0")
    with only_one(Path(step.folder), print):
        assert "has begun" in line_with(status(plan), "demo-ban-softlabels0-seed0")
        write_log(step, "10:00:00 2 of 8 images (25 %), 50 images/s, 00:00:01 left", age=3700)
        line = line_with(status(plan), "demo-ban-softlabels0-seed0")
    assert "25 %   50 images/s   0:00:00 left" in line
    assert "no word for 1:01:40" in line


def test_stopped_trainings_say_where_they_go_on(plan):
    first, second = step_of(plan), step_of(plan, "demo-ban-gen1-seed1")
    labels = step_of(plan, "demo-ban-softlabels0-seed2")
    epochs = first.settings["recipe"]["epochs"]
    write_log(
        first, "10:00:00 epoch 4  learning_rate 0.1  images_per_second 60", "10:00:01 stopped. Run the same command again to go on."
    )
    save_checkpoint(first)
    save_checkpoint(second)
    write_log(labels, "10:00:01 stopped before all were written. Run the same command again to go on.")
    text = status(plan)
    assert counts(text)["demo"]["stopped"] == 3
    assert line_with(text, ROLE).split()[1:] == f"in epoch 5 of {epochs}".split()
    assert line_with(text, "demo-ban-gen1-seed1").endswith("from its checkpoint")
    assert line_with(text, "demo-ban-softlabels0-seed2").endswith("to begin again")


def test_a_failed_step_shows_its_message_and_the_path_of_its_log(plan):
    step = step_of(plan)
    noise = [f"10:00:00 noise {number}" for number in range(50)]
    path = write_log(step, *noise, "", f"Error in {step.kind} {step.id}:", "training diverged: lower the rate.")
    save_checkpoint(step)
    text = status(plan)
    assert counts(text)["demo"]["failed"] == 1
    waiting = {step.name}
    while more := {other.name for other in plan.steps.values() if waiting & set(other.parents)} - waiting:
        waiting |= more
    shown = text.partition(f"Failed: 1, for which {len(waiting) - 1} more wait\n")[2].splitlines()[1:5]
    assert shown == [
        f"  {ROLE}",
        f"    {path}",
        f"    | Error in {step.kind} {step.id}:",
        "    | training diverged: lower the rate.",
    ]
    assert "noise" not in text
    with only_one(Path(step.folder), print):
        assert "Failed" not in status(plan)
    finish(step)
    assert "Failed" not in status(plan)


def test_of_a_traceback_the_last_lines_are_shown(plan):
    frames = [line for number in range(20) for line in (f'  File "x.py", line {number}', f"    call_{number}()")]
    write_log(step_of(plan), "10:00:00 begin", "Traceback (most recent call last):", *frames, "MemoryError: too much")
    text = status(plan)
    assert "    | MemoryError: too much" in text
    assert "call_19" in text and "call_9" not in text


def test_many_failed_steps_are_cut(plan):
    chosen = [(role, step) for role, step in ((role, plan.steps[name]) for role, name in plan.roles.items()) if "gen" in role][:15]
    for _, step in chosen:
        write_log(step, f"Error in {step.kind} {step.id}:", *(f"line {number}" for number in range(100)))
    text = status(plan)
    assert text.count("    | Error in ") == 10
    assert text.count("    | ") == 10 * 12 and text.count("| line 99") == 10
    assert line_with(text, "and ").startswith("  and 5 more: demo-")


def test_a_lock_of_another_machine_that_is_not_seen_here_is_told_by_the_log(plan):
    step = step_of(plan)
    Path(step.folder).mkdir(parents=True)
    Path(step.folder, ".lock").write_text("77 on some-other-node")
    lines = ("10:00:02 75,002 parameters, float32 on cpu",)
    write_log(step, *lines, age=200)
    assert "process 77 on some-other-node" in line_with(status(plan), ROLE)
    write_log(step, *lines, age=400)
    assert counts(status(plan))["demo"].get("running") is None
    write_log(step, *lines, "10:00:09 stopped. Run the same command again to go on.", age=1)
    assert counts(status(plan))["demo"]["stopped"] == 1
    Path(step.folder, ".lock").write_text(f"77 on {platform.node()}")
    write_log(step, *lines, age=1)
    assert counts(status(plan))["demo"]["stopped"] == 1


def test_shared_steps_and_those_that_nothing_needs_any_more(plan):
    for step in plan.steps.values():
        finish(step)
    network, labels = step_of(plan), step_of(plan, "demo-ban-softlabels0-seed0")
    Path(network.folder, "model.safetensors").rename(Path(network.folder, "model.safetensors.dvc"))
    Path(labels.folder, "softlabels.npy").unlink()
    assert counts(status(plan))["demo"] == {
        "steps": len(plan.steps),
        "done": len(plan.steps) - 2,
        "shared, not here": 1,
        "not needed": 1,
    }
    # The tables read the network, and it the soft labels.
    Path(network.folder, "receipt.json").unlink()
    assert counts(status(plan))["demo"]["not needed"] == 2
    Path(step_of(plan, "demo-tables").receipt).unlink()
    assert counts(status(plan))["demo"] == {"steps": len(plan.steps), "done": len(plan.steps) - 3, "not started": 3}


def test_it_writes_nothing_and_imports_no_torch(plan):
    write_log(step_of(plan), f"Error in {step_of(plan).kind} x:")
    save_checkpoint(step_of(plan, "demo-ban-gen1-seed1"))
    with only_one(Path(step_of(plan, "demo-ban-gen1-seed2").folder), print):
        before = {path: path.stat() for path in Path().rglob("*")}
        status(plan)
        after = {path: path.stat() for path in Path().rglob("*")}
    assert [(p, s.st_mtime_ns, s.st_size) for p, s in after.items()] == [(p, s.st_mtime_ns, s.st_size) for p, s in before.items()]
    code = "import sys, gendistill.status; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_cannot_be_read_is_no_traceback(plan):
    step = step_of(plan)
    Path(step.folder).parent.mkdir(parents=True)
    Path(step.folder).write_text("no folder")
    Path("logs", step.kind, f"{step.id}.log").mkdir(parents=True)
    assert counts(status(plan))["demo"]["not started"] == len(plan.steps)


def test_the_message_of_a_process_that_ended_all_is_the_failure(plan):
    write_log(step_of(plan), "10:00:00 270,000 parameters, float32 on cuda", "Error: process 1 of a training was ended by signal 9")
    text = status(plan)
    assert counts(text)["demo"]["failed"] == 1 and "was ended by signal 9" in text
