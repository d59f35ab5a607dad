"""What each published table asks for: networks, steps, and an estimate of GPU-hours at full scale."""

from collections.abc import Sequence
from pathlib import Path

from gendistill.cost.calibration import Calibration, find_calibration
from gendistill.cost.predict import expected_seconds
from gendistill.cost.work import work_of
from gendistill.plan import Plan, build_plan
from gendistill.plan.step import NETWORKS


def table_of_papers(names: Sequence[str], smoke: Path | None = None, device: str | None = None) -> str:
    """A Markdown table: for each published table its networks, steps, those that no table above has, and GPU-hours.

    Args:
        names: of the published tables.
        smoke: the folder `results` of a run at scale smoke, of which to say how many of a table's rows have a value.
        device: the name of a file in `config/device/`; if None, what `find_calibration` finds.
    """
    calibration = find_calibration(device)
    head = ["table", "networks", "steps", "steps no table above has", "GPU-hours", *(["rows run at scale smoke"] if smoke else [])]
    lines = [_line(head), "|---" * len(head) + "|"]
    seen: dict[str, float] = {}
    planned = networks = 0
    hours = 0.0
    for name in names:
        plan = build_plan([name], without_data=True)
        costs = gpu_hours(plan, calibration)
        trained = [step for step in plan.steps.values() if step.kind in NETWORKS]
        new = [step for step in costs if step not in seen]
        planned, networks, hours = planned + len(costs), networks + len(trained), hours + sum(costs.values())
        seen |= costs
        cells = [name, len(trained), len(costs), len(new), f"{sum(costs.values()):,.1f}"]
        lines.append(_line([*cells, *([_rows_run(smoke / "tables" / f"{name}.csv")] if smoke else [])]))
    distinct = sum(name.partition("/")[0] in NETWORKS for name in seen)
    lines.append(_line(["all, one by one", networks, planned, "", f"{hours:,.1f}", *([""] if smoke else [])]))
    lines.append(_line(["all, shared steps once", distinct, len(seen), "", f"{sum(seen.values()):,.1f}", *([""] if smoke else [])]))
    return "\n".join([*lines, "", f"Device: {calibration.told}."])


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _rows_run(table: Path) -> str:
    import pandas as pd

    if not table.is_file():
        return "failed"
    rows = pd.read_csv(table)
    return f"{(rows['n'] > 0).sum()} of {len(rows)}"


def gpu_hours(plan: Plan, calibration: Calibration) -> dict[str, float]:
    """Expected hours of each step that computes with a network, NaN where they are unknown; 0 for all others."""
    work = {name: work_of(plan, step) for name, step in plan.steps.items()}
    return {name: expected_seconds(each, calibration) / 3600 if each.computes else 0.0 for name, each in work.items()}
