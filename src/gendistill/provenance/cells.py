"""A cell of a table of the results: its value, and the runs that it is computed from."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gendistill.errors import UserError
from gendistill.files import read_receipt
from gendistill.provenance.names import read_index
from gendistill.provenance.values import brief, number

SHOWN_ROWS = 40
LABELS = ("row", "network", "dataset", "method", "generation", "metric")


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        name: its labels joined by `/`.
        lines: what it says, a line for each metric.
        runs: the runs that it is computed from, as `kind/id`, with what each adds.
    """

    name: str
    lines: list[str]
    runs: dict[str, str]


def find_row(name: str) -> Row:
    """The row that `name`, as TABLE:ROW, means; ROW is the labels, or some of them, in order, joined by `/`.

    In a published table, ROW may also be the number of the row, from 1.

    Raises:
        UserError: there is no such table, or no such row, or there are several.
    """
    table, _, wanted = name.partition(":")
    tables = _tables()
    if table not in tables:
        known = f"Allowed: {', '.join(tables)}" if tables else "There are no tables of results here"
        raise UserError(f"{name}: there is no table {table} in results/tables. {known}.")
    folder, inner = tables[table]
    rows = list(_own_rows(folder, inner) if inner else _paper_rows(folder))
    found = [row for row in rows if row.name.lower() == wanted.lower()]
    if not found and not inner and wanted.isdecimal() and 0 < int(wanted) <= len(rows):
        found = [rows[int(wanted) - 1]]
    found = found or [row for row in rows if _is_within(wanted.lower().split("/"), row.name.lower().split("/"))]
    if len(found) != 1:
        raise UserError(_which(name, found, rows, numbered=not inner))
    if not found[0].runs:
        raise UserError(f"{name}: {'; '.join(found[0].lines)}. No run of ours is behind it.")
    return found[0]


def _tables() -> dict[str, tuple[Path, str]]:
    """The folder of each table of `results/tables`, by the stem of its file, and its name there if it has several."""
    tables = {}
    for run in dict.fromkeys(read_index().values()):
        folder = Path("runs", run)
        if run.startswith("paper_table/") and (folder / "table.json").exists():
            tables[_content(folder / "table.json")["table"]] = (folder, "")
        if run.startswith("tables/") and (folder / "tables.json").exists():
            content = _content(folder / "tables.json")
            for inner in content["summaries"]:
                tables[f"{content['experiment']}_{inner}"] = (folder, inner)
                tables[f"{content['experiment']}_{inner}_runs"] = (folder, f"{inner}_runs")
    return tables


def _content(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}). Remove it and run snakemake again: rm {path}") from error


def _own_rows(folder: Path, inner: str) -> Iterator[Row]:
    """The rows of an experiment's table: over seeds alike, or, of one that ends in `_runs`, by run."""
    content = _content(folder / "tables.json")
    records = content["runs"][inner.removesuffix("_runs")]
    summaries = content["summaries"][inner.removesuffix("_runs")]
    # A summary has its labels, then n, then for each metric its mean and standard deviation.
    labels = list(summaries[0])[: list(summaries[0]).index("n")]
    metrics = [key.removesuffix("_mean") for key in summaries[0] if key.endswith("_mean")]
    if inner.endswith("_runs"):
        own = [*labels, *(key for key in records[0] if key not in (*labels, *metrics, "step", "seed")), "seed"]
        for record in records:
            lines = [f"{m} {number(record[m])}" for m in metrics if record.get(m) is not None]
            yield Row("/".join(str(record[key]) for key in own if record.get(key) is not None), lines, {record["step"]: ""})
        return
    for summary in summaries:
        alike = [record for record in records if all(record[label] == summary[label] for label in labels)]
        lines = []
        for metric in metrics:
            if summary.get(f"{metric}_mean") is not None:
                values = ", ".join(number(record[metric]) for record in alike)
                lines.append(f"{metric} {_mean(summary[f'{metric}_mean'], summary[f'{metric}_sd'], summary['n'])}: {values}")
        yield Row("/".join(str(summary[label]) for label in labels), lines, dict.fromkeys((r["step"] for r in alike), ""))


def _paper_rows(folder: Path) -> Iterator[Row]:
    """The rows of a published table."""
    settings = read_receipt(folder)["spec"]["settings"]
    for n, row in enumerate(_content(folder / "table.json")["rows"]):
        lines = [f"published {row['published'] or 'empty'}"]
        if row["ours"] is not None:
            lines.append(f"ours {_mean(row['ours'], row['sd'], row['n'])}")
        elif row["not_run"]:
            lines.append(f"not run: {row['not_run']}")
        runs: dict[str, str] = {}
        for cell in settings["cells"]:
            if cell["row"] == n:
                form = settings["forms"][row["metric"]]
                shown = "" if form == "as_is" else f", shown as {form.replace('_', ' ')}"
                runs |= {step: f"{cell['key']}{_value(step, cell['key'])}{shown}" for step in cell["steps"]}
        yield Row("/".join(row[label] for label in LABELS if row[label]), lines, runs)


def _value(run: str, key: str) -> str:
    """The metric in a run's receipt, as text; empty where it can't be read."""
    try:
        return f" {brief(read_receipt(Path('runs', run))['metrics'][key])}"
    except (UserError, KeyError):
        return ""


def _mean(mean: float, sd: float | None, n: int) -> str:
    spread = "" if sd is None else f" ± {sd:.2f}" if abs(mean) >= 1 else f" ± {number(sd)}"
    return f"{number(mean)}{spread} (n = {n})"


def _is_within(wanted: list[str], labels: list[str]) -> bool:
    """Whether all of `wanted` are among `labels`, in this order."""
    rest = iter(labels)
    return all(label in rest for label in wanted)


def _which(name: str, found: list[Row], rows: list[Row], numbered: bool) -> str:
    """The message that says which rows there are."""
    said = f"{len(found)} rows are so" if found else "there is no such row"
    shown = [(n, row) for n, row in enumerate(rows, start=1) if row in (found or rows)]
    lines = [f"  {n:>3}  {row.name}" if numbered else f"  {row.name}" for n, row in shown[:SHOWN_ROWS]]
    lines += [f"  and {len(shown) - SHOWN_ROWS} more"] if len(shown) > SHOWN_ROWS else []
    how = "its labels, or its number" if numbered else "its labels"
    return f"{name}: {said}. Give {how}, after {name.partition(':')[0]}: of one of\n" + "\n".join(lines)
