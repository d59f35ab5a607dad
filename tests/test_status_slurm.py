"""What `gendistill status` tells on a cluster: a made-up `squeue`, and the logs that Slurm leaves."""

import os
import shlex
import time
from pathlib import Path

import pytest

from gendistill.files import only_one
from gendistill.plan import build_plan
from gendistill.plan.siblings import siblings, write_siblings
from gendistill.status import status
from tests.test_status import counts, finish, line_with, save_checkpoint, step_of, write_log

ROLE = "demo-ban-gen1-seed0"


@pytest.fixture
def plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    return build_plan(["demo"])


def write_squeue(script):
    path = Path("bin/squeue")
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def set_queue(*jobs, folder=None):
    """Jobs as (number, state, reason, comment), in the form and the order that `--format` asks for."""
    lines = [f"{'|'.join(job)}|{folder or Path.cwd()}" for job in jobs]
    write_squeue(
        'test "$*" = "--me --array --noheader --format=%i|%T|%R|%k|%Z" || exit 3\nprintf "%s\\n" '
        + " ".join(map(shlex.quote, lines))
    )


def comment(step):
    return f"rule_{step.kind}_wildcards_{step.id}"


def write_job_log(path, *lines, age=0.0):
    path = Path(".snakemake/slurm_logs", path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_queued_and_running_jobs_are_found_by_their_comments(plan):
    first, second = step_of(plan), step_of(plan, "demo-ban-gen1-seed1")
    set_queue(("101", "RUNNING", "node3", comment(first)), ("102", "PENDING", "(Priority)", comment(second)))
    text = status(plan)
    assert counts(text)["demo"] == {
        "steps": len(plan.steps),
        "done": 0,
        "running": 1,
        "queued": 1,
        "not started": len(plan.steps) - 2,
    }
    assert line_with(text, ROLE).endswith("Slurm job 101")
    assert line_with(text, "demo-ban-gen1-seed1").endswith("Slurm job 102   (Priority)")


def test_a_failed_or_stopped_step_that_is_queued_again_is_queued(plan):
    first, second = step_of(plan), step_of(plan, "demo-ban-gen1-seed1")
    write_log(first, f"Error in {first.kind} {first.id}:", "training diverged")
    save_checkpoint(second)
    set_queue(*((str(number), "PENDING", "(None)", comment(step)) for number, step in enumerate((first, second))))
    found = counts(status(plan))["demo"]
    assert found["queued"] == 2
    assert "failed" not in found and "stopped" not in found
    # Of two jobs of one step the one that runs tells more, whichever was submitted first.
    running, waiting = ("7", "RUNNING", "n1", comment(first)), ("8", "PENDING", "(Priority)", comment(first))
    for jobs in ((running, waiting), (waiting, running)):
        set_queue(*jobs)
        assert line_with(status(plan), ROLE).endswith("Slurm job 7")
    set_queue(waiting)
    # One that a process on this machine works at runs, whatever waits for it.
    with only_one(Path(first.folder), print):
        assert counts(status(plan))["demo"]["running"] == 1
    finish(first)
    assert counts(status(plan))["demo"]["done"] == 1


def test_jobs_of_another_directory_are_not_ours(plan):
    set_queue(("101", "RUNNING", "node3", comment(step_of(plan))), folder="/some/where/else")
    assert "101" not in status(plan)


def test_of_an_array_the_logs_tell_the_steps(plan):
    steps = [plan.steps[name] for role, name in plan.roles.items() if role.endswith("-statistics")][:3]
    # The comment of an array names its first step only.
    jobs = [(f"77_{task}", "RUNNING" if task < 3 else "PENDING", "node1", comment(steps[0])) for task in (1, 2, 3)]
    set_queue(*jobs)
    write_job_log("rule_statistics/77_2.log", "rule statistics:", f"    wildcards: id={steps[1].id}")
    text = status(plan)
    assert counts(text)["demo"]["running"] == 1
    role = next(role for role, name in plan.roles.items() if name == steps[1].name)
    assert line_with(text, role).endswith("Slurm job 77_2")
    unknown = text.partition("Queued or running in arrays and groups")[2].splitlines()
    assert [line.split() for line in unknown[1:3]] == [
        ["statistics", "Slurm", "job", "77_1", "running"],
        ["statistics", "Slurm", "job", "77_3", "node1"],
    ]


def test_a_job_that_died_before_the_step_began_shows_its_newest_log(plan):
    set_queue()
    step, member = step_of(plan), next(plan.steps[name] for role, name in plan.roles.items() if role.endswith("-statistics"))
    folder = f"rule_{step.kind}/{step.id}"
    write_job_log(f"{folder}/50.log", "an older one", age=100)
    newest = write_job_log(f"{folder}/51.log", "Activating", "/bin/sh: python: not found")
    of_array = write_job_log("rule_statistics/77_2.log", f"    wildcards: id={member.id}", "no module named snakemake")
    text = status(plan)
    assert counts(text)["demo"]["failed"] == 2
    assert f"    {newest}\n    | Activating\n    | /bin/sh: python: not found" in text
    assert f"    {of_array}\n" in text and "    | no module named snakemake" in text
    assert "an older one" not in text
    # The log of the step itself is the better one.
    own = write_log(step, f"Error in {step.kind} {step.id}:", "the disk is full")
    text = status(plan)
    assert f"    {own}\n" in text and "python: not found" not in text


def test_the_log_of_a_job_that_has_just_begun_is_no_failure(plan):
    set_queue(("60", "PENDING", "(Priority)", "rule_evaluations"))
    step = step_of(plan)
    write_job_log("group_evaluations/60.log", f"    wildcards: id={step.id}")
    assert "failed" not in counts(status(plan))["demo"]


def test_why_slurm_ended_a_training_is_told(plan):
    set_queue()
    step = step_of(plan)
    save_checkpoint(step)
    write_log(step, "10:00:00 epoch 4  learning_rate 0.1  images_per_second 60")
    reason = "slurmstepd: error: *** JOB 51 ON n1 CANCELLED AT 2026-11-21T10:00:00 DUE TO TIME LIMIT ***"
    write_job_log(f"rule_{step.kind}/{step.id}/51.log", "begin", reason, "Shutting down")
    line = line_with(status(plan), ROLE)
    assert "in epoch 5 of " in line
    assert line.endswith(reason)


def test_a_queue_that_gives_no_answer_is_told_and_the_rest_is_shown(plan, monkeypatch):
    write_squeue("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    text = status(plan)
    assert "\n\nsqueue failed (slurm_load_jobs error: Unable to contact slurm controller): what is queued is not known.\n" in text
    assert counts(text)["demo"]["not started"] == len(plan.steps)
    write_squeue("echo something else")
    assert "squeue" not in status(plan)
    Path("bin/squeue").write_bytes(b"no program")
    assert "squeue failed (" in status(plan)
    write_squeue("while :; do :; done")
    monkeypatch.setattr("gendistill.status.slurm.SECONDS", 0.2)
    assert "squeue gave no answer" in status(plan)


def test_of_a_job_that_has_just_begun_nothing_of_an_earlier_attempt_is_told(plan):
    step = step_of(plan)
    write_log(step, "10:00:00 stopped in epoch 3 of 15, step 2; saved. Run the same command again to go on.", age=90_000)
    Path(step.folder).mkdir(parents=True)
    Path(step.folder, ".lock").write_text("77 on node-of-yesterday")
    set_queue(("90", "RUNNING", "n7", comment(step)))
    line = line_with(status(plan), ROLE)
    assert "has begun" in line and "Slurm job 90" in line
    assert "node-of-yesterday" not in line and "epoch" not in line and "no word" not in line


def test_jobs_that_are_not_snakemakes_are_left_out(plan):
    set_queue(("91", "RUNNING", "n7", "(null)"), ("92", "PENDING", "(Priority)", "an interactive job"))
    assert "91" not in status(plan) and "92" not in status(plan)


def test_siblings_are_found_by_the_name_of_their_job(plan):
    plan = build_plan(["demo"], ("runtime.side_by_side=3",))
    found = siblings(plan, plan.steps)
    write_siblings(found)
    name, steps = next(iter(found.items()))
    set_queue(("101", "PENDING", "(Priority)", f"rule_{name}"))
    assert counts(status(plan))["demo"]["queued"] == len(steps) == 3
    set_queue()
    end = "slurmstepd: error: *** JOB 101 ON n1 CANCELLED AT 2026-11-21T10:00:00 DUE TO TIME LIMIT ***"
    write_job_log(f"rule_{name}/101.log", end)
    for step in steps:
        save_checkpoint(step)
    assert status(plan).count("DUE TO TIME LIMIT") == 3
