"""`gendistill cost`: what chosen experiments cost before anything is submitted, and what is left of that to do."""

import contextlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from gendistill.cost.calibration import Calibration, find_calibration
from gendistill.cost.predict import expected_seconds
from gendistill.cost.schedule import longest_chain, makespan
from gendistill.cost.work import Work, work_of
from gendistill.errors import SettingError, UserError
from gendistill.files import read_receipt
from gendistill.plan import Plan
from gendistill.plan.step import NETWORKS
from gendistill.sharing.restore import steps_to_fetch

HEAD = ("", "networks", "steps", "GPU-hours", "hours on {gpus}", "longest chain, hours", "storage, GB", "done", "to fetch", "left")
GB = 1e9


@dataclass(frozen=True)
class Costs:
    """Each step of a plan: its work, its expected seconds (NaN if unknown), and whether it is done or can be fetched."""

    plan: Plan
    work: dict[str, Work]
    seconds: dict[str, float]
    done: set[str]
    fetched: set[str]


def cost_table(plan: Plan, gpus: int = 1, device: str | None = None) -> str:
    """A Markdown table of what a plan costs: a row for each experiment or published table, then all with shared steps once.

    Run in the directory of the results: what is finished or shared there counts as done or to fetch.

    Args:
        plan: of the chosen experiments.
        gpus: that compute at the same time, one step each.
        device: the name of a file in `config/device/`; if None, what `find_calibration` finds.

    Raises:
        SettingError: there is no such calibration, or no GPU.
    """
    if gpus < 1:
        raise SettingError(f"--gpus {gpus}: must be at least 1.")
    calibration = find_calibration(device)
    costs = costs_of(plan, calibration)
    what = "GPU" if calibration.type == "cuda" else "device"
    head = [cell.format(gpus=f"{gpus} {what}{'s' if gpus > 1 else ''}").replace("GPU-", f"{what}-") for cell in HEAD]
    lines = [_line(head), "|---" * len(head) + "|"]
    groups = {name: plan.behind(step.name for step in plan.shown(name)) for name in plan.settings}
    for name, steps in groups.items():
        lines.append(_row(name, costs, steps, gpus))
    if len(groups) > 1:
        lines.append(_row("all, shared steps once", costs, set(plan.steps), gpus))
    left = to_do(plan, costs.done | costs.fetched)
    lines.append(_row("left to do", costs, left, gpus))
    return "\n".join([*lines, "", *_notes(costs, calibration)])


def costs_of(plan: Plan, calibration: Calibration) -> Costs:
    """Work and expected seconds of each step, and which are done in the current directory."""
    work = {name: work_of(plan, step) for name, step in plan.steps.items()}
    seconds = {name: expected_seconds(each, calibration) for name, each in work.items()}
    done = {name for name, step in plan.steps.items() if all(Path(file).is_file() for file in step.files)}
    return Costs(plan, work, seconds, done, steps_to_fetch() & set(plan.steps) - done)


def to_do(plan: Plan, finished: set[str]) -> set[str]:
    """The steps that must run so that all that the report shows is made: those that no finished step makes needless."""
    waiting = [step.name for step in plan.shown() if step.name not in finished]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [parent for parent in plan.steps[name].parents if parent not in finished]
    return found


def _row(name: str, costs: Costs, chosen: set[str], gpus: int) -> str:
    # In the order of the plan.
    steps = [step for step in costs.plan.steps if step in chosen]
    known = {step: 0.0 if math.isnan(costs.seconds[step]) else costs.seconds[step] for step in steps}
    unknown = any(math.isnan(costs.seconds[step]) for step in steps)
    on_gpu = {step for step in steps if costs.work[step].computes}
    parents = {step: costs.plan.steps[step].parents for step in steps}
    left = to_do(costs.plan, costs.done | costs.fetched) & chosen
    cells = [
        name,
        sum(costs.plan.steps[step].kind in NETWORKS for step in steps),
        len(steps),
        _hours(sum(known[step] for step in on_gpu), unknown),
        _hours(makespan(known, parents, on_gpu, gpus), unknown),
        _hours(sum(known[step] for step in longest_chain(known, parents)), unknown),
        _at_least(sum(sum(costs.work[step].written.values()) for step in steps) / GB, unknown),
        sum(step in costs.done for step in steps),
        sum(step in costs.fetched for step in steps),
        _hours(sum(known[step] for step in left & on_gpu), any(math.isnan(costs.seconds[step]) for step in left)),
    ]
    return _line(cells)


def _notes(costs: Costs, calibration: Calibration) -> Iterable[str]:
    yield f"Device: {calibration.told}."
    yield (
        "Hours are expected ones; a job asks for more. A chain is of steps that wait for each other: no number of GPUs makes it "
        "shorter. Left: device-hours of the steps that neither a receipt here nor DVC makes needless; a training that was "
        "interrupted counts whole. Downloads and waiting for a queue are not counted."
    )
    yield from _agreement(costs)
    if any(step.settings.get("store") is not None for step in costs.plan.of_kind("dataset")):
        yield "The storage and the writing of a store of images are counted once it is made."
    reasons = sorted({work.unknown for work in costs.work.values() if work.unknown})
    count = sum(bool(work.unknown) for work in costs.work.values())
    if reasons:
        yield f"A number after > leaves out what is unknown, {count} steps: {'; '.join(reasons)}."


def _agreement(costs: Costs) -> Iterable[str]:
    """How well what was predicted and what was used agree in the finished steps, as their receipts tell."""
    found = []
    for name in costs.done:
        # Most steps were run without a prediction; nobody looks here for damaged receipts.
        with contextlib.suppress(UserError, KeyError, TypeError):
            receipt = read_receipt(Path(costs.plan.steps[name].folder))
            predicted, used = (receipt["resources"][key] for key in ("predicted", "used"))
            seconds = receipt["times"]["seconds"] / predicted["seconds"]
            found.append((seconds, used["memory_mb"] / predicted["memory_mb"]))
    if found:
        times, memories = (sorted(ratios) for ratios in zip(*found, strict=True))
        yield (
            f"Of {len(found)} finished steps with a prediction, the time was {_spread(times)} times the expected one (of the last "
            f"attempt, without the start), the memory {_spread(memories)} times what was predicted (median and range)."
        )


def _spread(values: list[float]) -> str:
    return f"{median(values):.2f} ({values[0]:.2f} to {values[-1]:.2f})"


def _hours(seconds: float, unknown: bool) -> str:
    return _at_least(seconds / 3600, unknown)


def _at_least(value: float, unknown: bool) -> str:
    return f"{'> ' if unknown else ''}{value:,.{1 if value >= 10 or value == 0 else 2}f}"


def _line(cells: Iterable[object]) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"
