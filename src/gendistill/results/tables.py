"""The tables step: one experiment's results over its seeds, as tables."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from gendistill.files import read_receipt, write_json
from gendistill.plan.tables import TABLES
from gendistill.results.alike import check_alike, check_seeds

if TYPE_CHECKING:
    from gendistill.runtime import Runtime


def make_tables(settings: dict[str, Any], inputs: dict[str, Any], folder: Path, runtime: "Runtime") -> dict[str, Any]:
    """Write `tables.json`: each table by run and as mean, standard deviation and n.

    Args:
        settings: `experiment`, `description`, and `cells`: for each value its table, its step and its labels.
        inputs: the folders of the steps that the cells name.
        folder: where the files go.
        runtime: log.

    Returns:
        The number of rows of each table.

    Raises:
        UserError: a step has no receipt; a row lacks a seed or has one twice, or its runs are of different recipes.
    """
    receipts = {step: read_receipt(Path("runs", step))["metrics"] for step in dict.fromkeys(c["step"] for c in settings["cells"])}
    runs = {name: by_run(name, settings["cells"], receipts) for name in TABLES}
    runs = {name: frame for name, frame in runs.items() if len(frame)}
    for name, frame in runs.items():
        check_rows(name, frame)
    summaries = {name: summarise(name, frame) for name, frame in runs.items()}
    write_json(
        folder / "tables.json",
        {
            "experiment": settings["experiment"],
            "description": settings["description"],
            "runs": {name: json.loads(frame.to_json(orient="records")) for name, frame in runs.items()},
            "summaries": {name: json.loads(frame.to_json(orient="records")) for name, frame in summaries.items()},
        },
    )
    return {f"{name}_rows": len(frame) for name, frame in summaries.items()}


def by_run(table: str, cells: list[dict[str, Any]], receipts: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """One row per run of a table: its labels, its metrics, and the step that they come from."""
    rows = []
    for cell in cells:
        if cell["table"] != table:
            continue
        metrics = receipts[cell["step"]]
        labels = {key: value for key, value in cell.items() if key not in ("table", "step")}
        rows.append({**labels, **{m: metrics[m] for m in TABLES[table][1] if m in metrics}, "step": cell["step"]})
    return pd.DataFrame(rows)


def check_rows(table: str, runs: pd.DataFrame) -> None:
    """Check that each row of a table has one run, or as many members from scratch, of one recipe for each seed.

    Raises:
        UserError: it has not.
    """
    seeds = runs["seed"].unique().tolist()
    for labels, group in runs.groupby(list(TABLES[table][0]), sort=False):
        row = f"{table} of {'/'.join(map(str, labels))}"
        for _, own in group.groupby("member") if "member" in group and group["member"].notna().all() else [("", group)]:
            check_seeds(row, own["seed"].tolist(), seeds)
        check_alike({seed: own["step"].tolist() for seed, own in group.groupby("seed")}, row)


def summarise(table: str, runs: pd.DataFrame) -> pd.DataFrame:
    """Mean, standard deviation (of a sample: n - 1; empty for one run) and n of each metric, over runs alike but for the seed."""
    labels, metrics = TABLES[table]
    groups = runs.groupby(list(labels), sort=False)
    columns = {"n": groups.size()}
    for metric in metrics:
        if metric in runs:
            columns[f"{metric}_mean"] = groups[metric].mean()
            columns[f"{metric}_sd"] = groups[metric].std(ddof=1)
    return pd.DataFrame(columns).reset_index()
