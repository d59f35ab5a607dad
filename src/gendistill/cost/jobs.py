"""What the job of a step is given on a cluster, by prediction; and what the step tells its receipt of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gendistill.cost.calibration import find_calibration
from gendistill.cost.predict import expected_seconds, predict
from gendistill.cost.work import work_of
from gendistill.plan import Plan, Step

# The Snakemake inside a job, and the one that it starts.
SNAKEMAKES_MB = 300


@dataclass(frozen=True)
class Job:
    """What one job is given.

    Attributes:
        minutes: of time.
        memory_mb: of the machine, in MiB.
        gpu_memory_mb: that it will take, in MiB; 0 on a CPU. Slurm can't be asked for it, but a device can be too small.
        gpu_total_mb: what that type of device has; 0 if that is not known.
        told: the option `--predicted` of the step.
    """

    minutes: int
    memory_mb: int
    gpu_memory_mb: int
    gpu_total_mb: int
    told: str


def job_of(plan: Plan, step: Step, on_gpu: bool, device: str | None = None, attempt: int = 1) -> Job | None:
    """What the job of a step is given; None where its work is not known yet.

    Args:
        plan: that the step belongs to.
        step: of any kind.
        on_gpu: whether it gets a GPU, if it computes with a network.
        device: the name of a file in `config/device/`, used where it is of the type that the step gets; if None, see
            `find_calibration`.
        attempt: from 1.

    Raises:
        SettingError: there is no such calibration.
    """
    work = work_of(plan, step)
    wanted = "cuda" if on_gpu else "cpu"
    chosen = find_calibration(device, wanted)
    calibration = chosen if chosen.type == wanted else find_calibration(None, wanted)
    found = predict(work, calibration, attempt)
    if math.isnan(found.seconds):
        return None
    # At the first attempt, so that the receipt does not depend on how often it was tried.
    first = predict(work, calibration)
    told = {
        "device": calibration.slug,
        "seconds": round(expected_seconds(work, calibration), 1),
        "memory_mb": math.ceil(first.memory_mb),
        "gpu_memory_mb": math.ceil(first.gpu_memory_mb),
    }
    return Job(
        minutes=math.ceil(found.seconds / 60),
        memory_mb=math.ceil(found.memory_mb) + SNAKEMAKES_MB,
        gpu_memory_mb=math.ceil(found.gpu_memory_mb),
        gpu_total_mb=calibration.gpu_total_mb,
        told=",".join(f"{key}={value}" for key, value in told.items()),
    )


def side_by_side(jobs: Sequence[Job], on_gpu: bool) -> Job:
    """What one job is given that does the work of several at the same time; on a GPU, which they share, as long as one by one."""
    minutes = [job.minutes for job in jobs]
    return Job(
        minutes=sum(minutes) if on_gpu else max(minutes),
        memory_mb=sum(job.memory_mb for job in jobs),
        gpu_memory_mb=sum(job.gpu_memory_mb for job in jobs),
        gpu_total_mb=jobs[0].gpu_total_mb,
        told="",
    )
