"""A real Slurm: submitted, stopped in each way that a cluster has, and gone on from there, with the same bits as if undisturbed."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from gendistill.cost.jobs import SNAKEMAKES_MB
from gendistill.cost.predict import TIME_MARGIN, TIME_RESERVE
from tests.conftest import LONG_TRAINING, ROOT, TINY, copy_project
from tests.slurm_cluster import SITE, OnSlurm, about, running_slurm, slurm, wait_for
from tests.tiny_project import assert_explained

pytestmark = pytest.mark.slurm
SCRIPTS = ROOT / "tests/slurm"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A Slurm that runs for these tests only; its folder."""
    with running_slurm(SCRIPTS, Path("/tmp", f"slurm-{os.getpid()}")) as state:
        yield state


@pytest.fixture
def project(cluster, tmp_path):
    project = OnSlurm(copy_project(tmp_path / "project").folder)
    (project.folder / "profiles/slurm/site.yaml").write_text(SITE)
    (project.folder / "config/experiment/long.yaml").write_text(LONG_TRAINING)
    (project.folder / "config/experiment/tiny.yaml").write_text(TINY.replace("5", "2").replace("0.6, 0.6, 0.6, ", ""))
    yield project
    for job in slurm("squeue", "--noheader", "--format=%i").split():
        slurm("scancel", job)
    wait_for(lambda: not slurm("squeue", "--noheader"))


@pytest.fixture(scope="session")
def undisturbed(cluster, tmp_path_factory):
    """The weights of the long training without Slurm, by their hash."""
    project = OnSlurm(copy_project(tmp_path_factory.mktemp("undisturbed") / "project").folder)
    (project.folder / "config/experiment/long.yaml").write_text(LONG_TRAINING)
    project.snakemake("--until", "patriarch", experiments="long")
    return project.weights()


def start_training(project, *arguments):
    """Submit the long training, and wait until it has a checkpoint."""
    process = project.start("--until", "patriarch", *arguments, experiments="long")
    wait_for(project.resume_files, process)
    return process


def test_a_chain_runs_from_submission_to_tables_and_a_change_submits_its_generations_only(project):
    project.finish(project.start(experiments="tiny"))
    assert (project.folder / "results/report.html").exists()
    # Short steps without a network run where Snakemake runs.
    assert not project.jobs_of("tables") and not project.jobs_of("ensemble") and not project.jobs_of("report")
    for rule in ("patriarch", "generation", "softlabels"):
        found = about(project.jobs_of(rule)[-1])
        assert found["TresPerJob"] == "gres:gpu:1" and found["Partition"] == "main", rule
    assert "TresPerJob" not in about(project.jobs_of("dataset")[-1])
    before = {rule: set(project.jobs_of(rule)) for rule in ("dataset", "patriarch", "generation")}
    project.edit("config/experiment/tiny.yaml", "[0.6, 0.6]", "[0.6, 0.1]")
    project.finish(project.start(experiments="tiny"))
    assert {rule: len(set(project.jobs_of(rule)) - seen) for rule, seen in before.items()} == {
        "dataset": 0,
        "patriarch": 0,
        "generation": 1,
    }
    # What the first jobs needed was not known: their data set was not prepared yet.
    job = project.jobs_of("generation")[-1]
    newest = max(project.folder.glob("runs/generation/*/receipt.json"), key=lambda path: path.stat().st_mtime)
    resources = json.loads(newest.read_text())["resources"]
    predicted = resources["predicted"]
    assert predicted["device"] == "generic-gpu"
    minutes = -(-(TIME_MARGIN * predicted["seconds"] + TIME_RESERVE) // 60)
    assert about(job)["TimeLimit"] == f"00:{minutes:02.0f}:00"
    assert f"mem={predicted['memory_mb'] + SNAKEMAKES_MB}M" in about(job)["TRES"]
    assert 0 < resources["used"]["memory_mb"] < predicted["memory_mb"]


def test_a_cancelled_training_is_submitted_again_and_goes_on(project, undisturbed):
    process = start_training(project)
    (first,) = project.jobs_of("patriarch", "RUNNING")
    said = project.run("gendistill", "status", "--config", "experiments=[long]").stdout
    assert re.search(rf"long-long-gen0-seed0 +epoch \d+ of 400 .* Slurm job {first}\b", said), said
    slurm("scancel", first)
    project.finish(process)
    assert project.jobs_of("patriarch")[-1] != first
    assert "resumed after" in project.log_text()
    assert project.weights() == undisturbed


def test_a_preempted_training_is_requeued_and_goes_on(project, undisturbed):
    process = start_training(project)
    (job,) = project.jobs_of("patriarch", "RUNNING")
    urgent = ("--partition=urgent", "--gpus=1", "--mem=500", "--wrap=sleep 5", "--output=/dev/null")
    slurm("sbatch", *urgent)
    wait_for(lambda: job not in project.jobs_of("patriarch", "RUNNING"), process)
    project.finish(process)
    assert about(job)["Restarts"] == "1" and project.jobs_of("patriarch")[-1] == job
    assert "resumed after" in project.log_text()
    assert project.weights() == undisturbed


def test_a_preempted_training_that_is_not_requeued_is_submitted_again(project, undisturbed):
    slurm("scontrol", "update", "PartitionName=main", "PreemptMode=CANCEL")
    try:
        process = start_training(project)
        (job,) = project.jobs_of("patriarch", "RUNNING")
        slurm("sbatch", "--partition=urgent", "--gpus=1", "--mem=500", "--wrap=sleep 5", "--output=/dev/null")
        project.finish(process)
    finally:
        slurm("scontrol", "update", "PartitionName=main", "PreemptMode=REQUEUE")
    assert about(job)["JobState"] == "PREEMPTED" and project.jobs_of("patriarch")[-1] != job
    assert project.weights() == undisturbed


def test_a_controller_that_is_away_for_a_while_loses_no_job(project, undisturbed, cluster):
    process = start_training(project)
    slurm("scontrol", "shutdown", "slurmctld")
    time.sleep(25)
    assert process.poll() is None
    subprocess.run(["slurmctld"], check=True)
    project.finish(process)
    assert project.weights() == undisturbed


def test_a_training_out_of_memory_gets_more(project, undisturbed):
    memory = ("--set-resources", "patriarch:mem_mb=300*attempt*attempt*attempt")
    project.finish(project.start("--until", "patriarch", *memory, experiments="long"))
    found = [about(job) for job in project.jobs_of("patriarch")]
    assert len(found) > 1 and found[0]["JobState"] != "COMPLETED" and found[-1]["JobState"] == "COMPLETED"
    assert "mem=300M" in found[0]["TRES"] and "mem=300M" not in found[-1]["TRES"]
    assert project.weights() == undisturbed


def test_a_training_out_of_time_gets_more_and_goes_on(project, undisturbed):
    process = start_training(project, "--set-resources", "patriarch:runtime=attempt")
    # It does nothing until its minute is over.
    os.kill(project.training_process(), signal.SIGSTOP)
    project.finish(process)
    found = [about(job) for job in project.jobs_of("patriarch")]
    assert [(job["JobState"], job["TimeLimit"]) for job in found] == [("TIMEOUT", "00:01:00"), ("COMPLETED", "00:02:00")]
    assert "resumed after" in project.log_text()
    assert project.weights() == undisturbed


def test_snakemake_that_was_killed_picks_up_its_jobs(project, undisturbed):
    # There is one GPU, and both jobs are to run at a time.
    project.edit("profiles/slurm/site.yaml", "gpu_type: any", "gpu_type: none")
    process = start_training(project)
    (first,) = project.jobs_of("patriarch", "RUNNING")
    training = project.training_process()
    os.kill(training, signal.SIGSTOP)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    project.snakemake("--unlock", experiments="long")
    process = project.start("--until", "patriarch", experiments="long")
    wait_for(lambda: f"waiting for process {training} " in project.log_text(), process)
    os.kill(training, signal.SIGCONT)
    project.finish(process)
    assert [about(job)["JobState"] for job in project.jobs_of("patriarch")] == ["COMPLETED"] * 2
    assert "another process has finished this step" in project.log_text() and "epoch" not in project.log_text()
    assert about(first)["JobState"] == "COMPLETED"
    assert project.weights() == undisturbed


def test_two_seeds_share_one_job_and_its_gpu(project):
    project.edit("config/experiment/tiny.yaml", "generations: 2", "generations: 1\nseeds: [0, 1]\nruntime: { side_by_side: 2 }")
    project.edit("config/experiment/tiny.yaml", "[0.6, 0.6]", "0.6")
    project.finish(project.start(experiments="tiny"))
    assert not project.jobs_of("patriarch") and not project.jobs_of("generation")
    # The patriarchs', and then the first generations'.
    for job in project.jobs_of("siblings"):
        found = about(job)
        assert found["JobState"] == "COMPLETED" and found["TresPerJob"] == "gres:gpu:1" and found["NumCPUs"] == "2"
    assert len(project.jobs_of("siblings")) == 2
    assert len(project.steps("patriarch")) == len(project.steps("generation")) == 2


def known_jobs() -> set[str]:
    return set(slurm("squeue", "--noheader", "--states=all", "--format=%i").split())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("partition: main", "partition: mian", "partition = mian: Slurm has no such partition. It has: main, urgent."),
        ("partition: main", "", "partition: of steps that need no GPU"),
        ("gpu_type: any", "gpu_type: a100", "gpu_type = a100: the partition main has no such GPU. It has: gpu:1."),
        (
            "account: none",
            "acount: none",
            "acount is no setting of a site. Allowed: partition, gpu_partition, account, gpu_type, ",
        ),
    ],
)
def test_a_wrong_site_is_told_before_anything_is_submitted(project, old, new, said):
    project.edit("profiles/slurm/site.yaml", old, new)
    before = known_jobs()
    done = project.run("snakemake", "--profile", "slurm", "--config", "experiments=[tiny]", check=False)
    assert_explained(done, said, "profiles/slurm/site.yaml")
    # Slurm forgets a job some minutes after its end.
    assert known_jobs() <= before
