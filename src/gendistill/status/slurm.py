"""What Slurm tells of the steps: its queue, and the logs of jobs that died before the step could write one.

Snakemake's Slurm executor (snakemake-executor-plugin-slurm 2.8.0) calls each job by a random name, and says in its comment what it
runs: `rule_NAME_wildcards_ID`. Of an array it says only the first step, of a group none, and of siblings the name that they share.
"""

import contextlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from gendistill.plan.siblings import names_of_siblings
from gendistill.status.logs import Log, read_log

SLURM_LOGS = Path(".snakemake") / "slurm_logs"
# Job, state, why it waits or where it runs, comment, directory; the last may contain anything.
FORMAT = "%i|%T|%R|%k|%Z"
RUNNING = ("RUNNING", "COMPLETING", "STAGE_OUT")
SECONDS = 10


@dataclass(frozen=True)
class Job:
    """A job in the queue; of siblings, one for each of them.

    Attributes:
        id: Slurm's number; of an array also that of the task.
        runs: whether it is running, and not waiting.
        reason: why it waits, or where it runs.
        step: `kind/id`; empty if Slurm does not tell.
        kind: the name of the rule or of the group.
    """

    id: str
    runs: bool
    reason: str
    step: str
    kind: str


def read_queue() -> tuple[list[Job], str]:
    """The user's jobs of the current directory, and a message if Slurm's queue could not be read.

    Where there is no Slurm, both are empty.
    """
    if not shutil.which("squeue"):
        return [], ""
    command = ["squeue", "--me", "--array", "--noheader", f"--format={FORMAT}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True, errors="replace")
    except subprocess.TimeoutExpired:
        return [], f"squeue gave no answer in {SECONDS} s: what is queued is not known."
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip().splitlines() or ["no message"])[-1]
        return [], f"squeue failed ({said}): what is queued is not known."
    except OSError as error:
        return [], f"squeue failed ({error}): what is queued is not known."
    here = Path.cwd().resolve()
    fields = [line.split("|", 4) for line in done.stdout.splitlines() if line.count("|") >= 4]
    ours = [given[:4] for given in fields if Path(given[4]).resolve() == here and given[3].startswith("rule_")]
    return [job for given in ours for job in _jobs(*given)], ""


def _jobs(id: str, state: str, reason: str, comment: str) -> list[Job]:
    kind, _, wildcards = comment.removeprefix("rule_").partition("_wildcards_")
    step = f"{kind}/{wildcards}" if wildcards and "_" not in id else ""
    return [Job(id, state in RUNNING, reason, each, kind) for each in _siblings(kind) or [step]]


def _siblings(rule: str) -> list[str]:
    """The steps that a job of a rule does at the same time; none if it is no job of siblings."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return names_of_siblings(rule) if rule.startswith("siblings_") else []
    return []


def job_log(kind: str, id: str, shared: dict[str, Path]) -> Path | None:
    """The newest log that Slurm wrote for a step; None if there is none.

    `shared`: what `shared_logs` gives.
    """
    paths = [*(SLURM_LOGS / f"rule_{kind}" / id).glob("*.log"), *filter(None, [shared.get(id)])]
    return max(paths, key=_changed, default=None)


def shared_logs() -> dict[str, Path]:
    """The newest log of an array, a group or siblings for each id that is named in one."""
    paths = sorted([*SLURM_LOGS.glob("rule_*/*.log"), *SLURM_LOGS.glob("group_*/**/*.log")], key=_changed)
    return {id: path for path in paths for id in _ids_in(path)}


def _ids_in(path: Path) -> list[str]:
    log = read_log(path)
    named = [id for line in log.lines for id in re.findall(r"\bid=([\w.+-]+)", line)] if log else []
    return named + [name.partition("/")[2] for name in _siblings(path.parent.name.removeprefix("rule_"))]


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def killed_by(log: Log | None) -> str:
    """What Slurm says of why it ended a job, such as the time limit or the memory; empty if nothing."""
    lines = reversed(log.lines) if log else ()
    return next((line for line in lines if re.match(r"(slurmstepd|slurmd|srun)\S*: error: ", line)), "")
