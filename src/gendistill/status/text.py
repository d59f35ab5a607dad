"""`gendistill status`: what is done, what runs, what waits and what failed, as plain text."""

import time
from pathlib import Path

from gendistill.files import duration
from gendistill.plan.plan import Plan
from gendistill.status.logs import Log, read_progress
from gendistill.status.slurm import Job, read_queue
from gendistill.status.states import (
    DONE,
    FAILED,
    QUEUED,
    RUNNING,
    SHARED,
    STATES,
    STOPPED,
    TO_DO,
    UNNEEDED,
    State,
    holder_of,
    states_of,
)

# So many lines each are enough to see what is going on.
MOST_STEPS, MOST_FAILED, MOST_LINES = 40, 10, 12
# A step that says nothing for so long may hang.
SILENT_SECONDS = 600


def status(plan: Plan) -> str:
    """How far each experiment is, what runs now, what is queued, what was stopped, and why steps failed.

    Looks at `runs/`, `logs/` and Slurm's logs in the current directory, and asks `squeue` where there is one; writes nothing.
    """
    jobs, problem = read_queue()
    states = states_of(plan, jobs)
    roles = {name: role for role, name in reversed(plan.roles.items())}
    chosen = {name: sorted((roles.get(key, key), s) for key, s in states.items() if s.name == name) for name in STATES}
    known = {state.job for state in states.values()}
    unnamed = [job for job in jobs if not job.step and job not in known]
    parts = [
        _counts(plan, states),
        _section("Running", _aligned([[role, *_running(state)] for role, state in chosen[RUNNING]])),
        _section("Queued", _aligned([[role, _queued(state.job)] for role, state in chosen[QUEUED]])),
        _section("Queued or running in arrays and groups, of which Slurm does not tell the steps", _aligned(_unnamed(unnamed))),
        _section("Stopped, to go on when Snakemake runs", _aligned([[role, *_stopped(state)] for role, state in chosen[STOPPED]])),
        _failed(chosen[FAILED], _behind(plan, states)),
        problem,
    ]
    finished = len(chosen[DONE]) + len(chosen[SHARED]) + len(chosen[UNNEEDED])
    if finished < len(states) and not any(Path(".snakemake/locks").glob("*")):
        parts.append("Snakemake does not run in this directory.")
    return "\n\n".join(part for part in parts if part)


def _counts(plan: Plan, states: dict[str, State]) -> str:
    """One line for each experiment, and one for all where there are several; a step that two share counts for both."""
    of_all = {name: plan.behind(step.name for step in plan.shown(name)) for name in plan.settings}
    if len(of_all) > 1:
        of_all["all together"] = set(states)
    shown = [name for name in STATES if name == DONE or any(state.name == name for state in states.values())]
    rows = [["", "steps", *shown]]
    for experiment, steps in of_all.items():
        counts = [sum(states[step].name == name for step in steps) for name in shown]
        rows.append([experiment, *(f"{count:,}" if count else "-" for count in (len(steps), *counts))])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))] for row in rows
    )
    return "\n".join("   ".join(line).rstrip() for line in lines)


def _running(state: State) -> list[str]:
    if state.job and state.log and state.log.has_ended:
        # Of an attempt before: the step itself has not begun in this one.
        return ["has begun", "", "", "", "", f"Slurm job {state.job.id}", ""]
    epochs = _epochs(state)
    told = read_progress(state.log, epochs) if state.log else None
    if told is None:
        words = ["has begun", "", ""]
    else:
        share = f"epoch {told.epoch} of {epochs}" if epochs else f"{100 * told.share:.0f} %"
        words = [share, told.rate, "" if told.seconds_left is None else f"{duration(told.seconds_left)} left"]
    folder = Path(state.step.folder)
    since = _since(folder / ".lock")
    holder = holder_of(folder)
    where = f"process {holder}" if holder and since else ""
    job = f"Slurm job {state.job.id}" if state.job else ""
    silent = state.log is not None and state.log.age > SILENT_SECONDS
    return [*words, since, where, job, f"no word for {duration(state.log.age)}" if silent and state.log else ""]


def _queued(job: Job | None) -> str:
    return f"Slurm job {job.id}   {job.reason}" if job else ""


def _unnamed(jobs: list[Job]) -> list[list[str]]:
    return [[job.kind, f"Slurm job {job.id}", "running" if job.runs else job.reason] for job in jobs]


def _stopped(state: State) -> list[str]:
    epochs = _epochs(state)
    told = read_progress(state.log, epochs) if state.log and state.is_saved else None
    if not state.is_saved:
        place = "to begin again"
    elif told is None:
        place = "from its checkpoint"
    else:
        place = f"in epoch {told.epoch} of {epochs}"
    return [place, state.reason]


def _behind(plan: Plan, states: dict[str, State]) -> int:
    """How many steps are not done that read what failed, directly or not."""
    behind = {name for name, state in states.items() if state.name == FAILED}
    failed = len(behind)
    # Each step of a plan comes after those that it reads.
    for name, step in plan.steps.items():
        if states[name].name in (TO_DO, STOPPED) and not behind.isdisjoint(step.parents):
            behind.add(name)
    return len(behind) - failed


def _failed(failed: list[tuple[str, State]], behind: int) -> str:
    """The last lines of the log of each failed step, for so many as one can read, and the number of steps that wait for them."""
    if not failed:
        return ""
    lines = [f"Failed: {len(failed)}{f', for which {behind:,} more wait' if behind else ''}"]
    for role, state in failed[:MOST_FAILED]:
        lines += ["", f"  {role}"]
        if state.log:
            lines += [f"    {state.log.path}", *(f"    | {line}" for line in _last_lines(state.log))]
    rest = [role for role, _ in failed[MOST_FAILED:]]
    return "\n".join([*lines, *(["", f"  and {len(rest)} more: {', '.join(rest)}"] if rest else [])])


def _last_lines(log: Log) -> list[str]:
    lines = log.error or log.lines
    return lines if len(lines) <= MOST_LINES else [lines[0], "...", *lines[2 - MOST_LINES :]]


def _epochs(state: State) -> int:
    return int(state.step.settings.get("recipe", {}).get("epochs", 0))


def _section(title: str, lines: list[str]) -> str:
    """A title with the number of lines, and so many of them as one can read."""
    if not lines:
        return ""
    rest = [f"and {len(lines) - MOST_STEPS:,} more"] if len(lines) > MOST_STEPS else []
    return "\n".join([f"{title}: {len(lines):,}", *(f"  {line}" for line in [*lines[:MOST_STEPS], *rest])])


def _aligned(rows: list[list[str]]) -> list[str]:
    """Rows as lines, in columns that are as wide as need be; a column that is empty takes no place."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width).rstrip() for row in rows]


def _since(path: Path) -> str:
    """When a lock was taken: the time, and if that was on another day, also that."""
    try:
        taken = time.localtime(path.stat().st_mtime)
    except OSError:
        return ""
    return time.strftime("since %H:%M" if taken[:3] == time.localtime()[:3] else "since %Y-%m-%d %H:%M", taken)
