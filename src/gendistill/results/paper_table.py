"""The paper_table step: our numbers beside those that a paper prints."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from gendistill.errors import UserError
from gendistill.files import read_receipt, write_json
from gendistill.results.alike import check_alike, check_seeds

if TYPE_CHECKING:
    from gendistill.runtime import Runtime

LABELS = ("row", "network", "dataset", "method", "generation", "metric")


def make_paper_table(settings: dict[str, Any], inputs: dict[str, Any], folder: Path, runtime: "Runtime") -> dict[str, Any]:
    """Write `table.json`: each printed row with the published value, our mean, standard deviation and n over seeds,
    and the value of each seed.

    Args:
        settings: `rows` as printed, `cells` that say which steps and metric give a row's value for one seed, `forms` that say
            what becomes of a metric's value, `not_run` rows, the `layout` of the table, `notes` on it, and our `choices` where
            the paper is silent.
        inputs: folders of the steps that the cells are read from.
        folder: where the table goes.
        runtime: log.

    Returns:
        The number of rows, and of rows that have a value of ours.

    Raises:
        UserError: a receipt is missing, or lacks the metric; a row lacks a seed that others have, has one twice, or has runs of
            different recipes.
    """
    metrics = {f"{path.parent.name}/{path.name}": read_receipt(path)["metrics"] for path in inputs["cells"]}
    runs: dict[int, list[dict[str, Any]]] = {}
    for cell in settings["cells"]:
        form = settings["forms"][settings["rows"][cell["row"]]["metric"]]
        read = [value_at(metrics[step], cell["key"], step) for step in cell["steps"]]
        runs.setdefault(cell["row"], []).append({"seed": cell["seed"], "value": in_form(form, read), "steps": cell["steps"]})
    seeds = {cell["seed"] for cell in settings["cells"]}
    for n, own in runs.items():
        shown = f"{settings['table']}, row {n + 1} ({'/'.join(filter(None, (settings['rows'][n][label] for label in LABELS)))})"
        check_seeds(shown, [run["seed"] for run in own], seeds)
        check_alike({run["seed"]: run["steps"] for run in own}, shown)
    why = {entry["row"]: entry["why"] for entry in settings["not_run"]}
    rows = [
        {**{label: row[label] for label in LABELS}, "published": row["value"], "published_spread": row["spread"]}
        | summarise([run["value"] for run in runs.get(n, [])], row, compare=settings["scale"] == "full")
        | {"not_run": why.get(n, ""), "note": row["note"], "runs": runs.get(n, [])}
        for n, row in enumerate(settings["rows"])
    ]
    kept = ("table", "title", "choices", "scale", "notes", "layout")
    write_json(folder / "table.json", {**{k: settings[k] for k in kept}, "rows": rows})
    runtime.log(f"{len(runs)} of {len(rows)} rows have a value of ours")
    return {"rows": len(rows), "rows_run": len(runs)}


def value_at(metrics: dict[str, Any], key: str, step: str) -> float:
    """The metric of a key such as `test_error_pct`.

    Raises:
        UserError: the receipt lacks it.
    """
    try:
        return float(metrics[key])
    except KeyError as error:
        raise UserError(f"the receipt of {step} has no metric {key}: the table cannot be made from it") from error


def in_form(form: str, values: list[float]) -> float:
    """A metric's value, of one step or several, as the paper prints it: see `gendistill.plan.cells.Metric`."""
    if form == "best_accuracy":
        return 100 - min(values)
    if form == "gain":
        before, after = values
        return before - after
    (value,) = values
    return {"as_is": value, "accuracy": 100 - value, "millions": value / 1e6, "tenth": value / 10}[form]


def summarise(values: list[float], row: dict[str, str], compare: bool = True) -> dict[str, float | int | None]:
    """Mean (or median, where the paper prints one), sample standard deviation and n; the difference to the published value.

    At another scale than the paper's there is nothing to `compare`.
    """
    if not values:
        return {"ours": None, "sd": None, "n": 0, "difference": None}
    series = pd.Series(values)
    ours = series.median() if row["metric"].endswith("_median") else series.mean()
    sd = series.std(ddof=1) if len(values) > 1 else None
    difference = ours - float(row["value"]) if compare and row["value"] else None
    return {"ours": ours, "sd": sd, "n": len(values), "difference": difference}
