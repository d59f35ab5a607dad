"""The state of each step of a plan."""

import contextlib
import platform
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from gendistill.files import is_locked
from gendistill.plan.plan import Plan
from gendistill.plan.step import RESUME, Step
from gendistill.sharing.restore import steps_to_fetch
from gendistill.status.logs import LOGS, Log, read_log
from gendistill.status.slurm import Job, job_log, killed_by, shared_logs

DONE, SHARED, UNNEEDED = "done", "shared, not here", "not needed"
RUNNING, QUEUED, FAILED, STOPPED, TO_DO = "running", "queued", "failed", "stopped", "not started"
STATES = (DONE, SHARED, UNNEEDED, RUNNING, QUEUED, FAILED, STOPPED, TO_DO)
# A lock that is held on another machine may not be seen from here; then a log that grew this recently tells.
FRESH_SECONDS = 300


@dataclass(frozen=True)
class State:
    """Where a step is.

    Attributes:
        step: of the plan.
        name: one of `STATES`.
        log: its own log; of a step that failed before it had one, the log of its Slurm job.
        job: its job in Slurm's queue.
        reason: what Slurm said when it ended a job.
        is_saved: whether a checkpoint is there to go on from.
    """

    step: Step
    name: str
    log: Log | None = None
    job: Job | None = None
    reason: str = ""
    is_saved: bool = False


def states_of(plan: Plan, jobs: list[Job]) -> dict[str, State]:
    """The state of each step by its name; `jobs` is Slurm's queue."""
    shared = steps_to_fetch() & plan.steps.keys()
    done = {name for name, step in plan.steps.items() if name not in shared and all(Path(path).exists() for path in step.files)}
    needed = _needed(plan, done | shared)
    by_number = {job.id: job for job in jobs}
    logs_of_many = shared_logs()
    # Of an array, the logs of the tasks that have begun tell the steps.
    queue = {id: by_number[path.stem] for id, path in logs_of_many.items() if "_" in path.stem and path.stem in by_number}
    # A job that runs tells more than another of the same step that waits for it.
    queue |= {job.step: job for job in sorted(jobs, key=lambda job: job.runs) if job.step}
    found = {}
    for name, step in plan.steps.items():
        if name in done | shared:
            found[name] = State(step, DONE if name in done else SHARED)
            continue
        log = read_log(LOGS / step.kind / f"{step.id}.log")
        job = queue.get(name) or queue.get(step.id)
        if _runs(step, log, job):
            found[name] = State(step, RUNNING, log, job)
        elif name not in needed:
            found[name] = State(step, UNNEEDED)
        elif job:
            found[name] = State(step, QUEUED, log, job)
        else:
            found[name] = _idle(step, log, job_log(step.kind, step.id, logs_of_many), by_number.keys())
    return found


def _needed(plan: Plan, finished: set[str]) -> set[str]:
    """The steps that are still to be made, because one that nothing reads is not there, or one that itself is needed."""
    waiting = list(plan.steps.keys() - {name for step in plan.steps.values() for name in step.parents})
    needed: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in needed | finished:
            needed.add(name)
            waiting.extend(plan.steps[name].parents)
    return needed


def _idle(step: Step, log: Log | None, path: Path | None, queued: Collection[str]) -> State:
    """The state of a step that neither runs nor is queued; `path` is the newest log of a Slurm job of it."""
    of_job = read_log(path) if path and path.stem not in queued else None
    is_saved = Path(step.folder, RESUME).exists()
    if log and log.error:
        return State(step, FAILED, log)
    if is_saved or (log and not log.is_done):
        return State(step, STOPPED, log, reason=killed_by(of_job), is_saved=is_saved)
    return State(step, FAILED, of_job) if of_job and not log else State(step, TO_DO)


def _runs(step: Step, log: Log | None, job: Job | None) -> bool:
    folder = Path(step.folder)
    if job and job.runs:
        return True
    # Where locks are not to be had, as on some network disks, the log must tell.
    with contextlib.suppress(OSError):
        if is_locked(folder):
            return True
    if not log or log.has_ended or log.age > FRESH_SECONDS:
        return False
    holder = holder_of(folder)
    return bool(holder) and not holder.endswith(f" on {platform.node()}")


def holder_of(folder: Path) -> str:
    """The process that works in a folder, or was the last to do so, as `PID on HOST`; empty if none did."""
    try:
        return (folder / ".lock").read_text().strip()
    except OSError:
        return ""
