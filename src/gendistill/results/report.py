"""The tables and figures of a plan as files to read, and one page that shows them all."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from gendistill.errors import UserError
from gendistill.files import verified
from gendistill.plan.plan import Plan
from gendistill.plan.tables import TABLES
from gendistill.results.claims import judge
from gendistill.results.claims_files import claims_files
from gendistill.results.experiment_report import experiment_files, experiment_section
from gendistill.results.macros import macros
from gendistill.results.page import write_page
from gendistill.results.paper_cells import paper_page
from gendistill.results.paper_report import paper_files, paper_metrics

FIGURE_KINDS = ("svg", "pdf", "png")


def report_files(plan: Plan, command: str, overrides: tuple[str, ...] = ()) -> dict[str, str | bytes]:
    """The files of `results/` that show the tables of a plan: index, metrics, tables, claims, figures, and `report.html`.

    Args:
        plan: of finished steps.
        command: what reproduces the results, as a user types it.
        overrides: on each experiment and published table, in Hydra's syntax.

    Returns:
        The content of each file by its path below `results/`.

    Raises:
        UserError: a step has no receipt, or a table is missing or corrupt.
    """
    contents: dict[str, str | bytes] = {"index.json": _json(plan.index)}
    loaded = {step.settings["experiment"]: _content(step.folder, "tables.json") for step in plan.of_kind("tables")}
    printed = {step.settings["table"]: _content(step.folder, "table.json") for step in plan.of_kind("paper_table")}
    own_files = [experiment_files(content) for content in loaded.values()] + [paper_files(content) for content in printed.values()]
    for files in own_files:
        if both := sorted(files.keys() & contents.keys()):
            raise UserError(f"results/{both[0]} would be the file of two studies. Give one of their files in config another name.")
        contents |= files
    figures = _figures(plan)
    for figure in figures:
        contents |= {f"figures/{figure['study']}_{figure['figure']}.{kind}": figure["files"][kind] for kind in figure["files"]}
    metrics = {name: _metrics(content["summaries"]) for name, content in loaded.items()}
    contents["metrics.json"] = _json(metrics | {name: paper_metrics(content) for name, content in printed.items()})
    contents["generations.csv"] = _generations(loaded).to_csv(index=False)
    sections = [experiment_section(content) for content in loaded.values()] + [paper_page(content) for content in printed.values()]
    claims = judge([_content(step.folder, "claims.json") for step in plan.of_kind("claims")])
    contents |= claims_files(claims)
    contents["tables/macros.tex"] = macros(list(loaded.values()), list(printed.values()), claims)
    contents["report.html"] = write_page(plan, command, overrides, sections, figures, claims)
    return contents


def _content(folder: str, file: str) -> dict[str, Any]:
    return json.loads(verified(Path(folder, file)).read_text())


def _figures(plan: Plan) -> list[dict[str, Any]]:
    """What each figure's step was asked for, with its `files` by kind, and the drawing as `svg`."""
    figures = []
    for step in plan.of_kind("figure"):
        files = {kind: verified(Path(step.folder, f"figure.{kind}")).read_bytes() for kind in FIGURE_KINDS}
        figures.append({**step.settings, "files": files, "svg": files["svg"].decode()})
    return figures


def _json(value: Any) -> str:
    return json.dumps(value, indent=1) + "\n"


def _metrics(summaries: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Mean, standard deviation and n of the first metric of each table, nested, which `dvc metrics` shows and compares."""
    nested: dict[str, Any] = {}
    for table, records in summaries.items():
        for record in records:
            key = "-".join(str(record[label]) for label in TABLES[table][0])
            metric = TABLES[table][1][0]
            columns = {"n": "n", metric: f"{metric}_mean", "sd": f"{metric}_sd"}
            # DVC takes a key `error` for a failure to read.
            name = "generations" if table == "error" else table
            nested.setdefault(name, {})[key] = {k: record[v] for k, v in columns.items() if record[v] is not None}
    return nested


def _generations(loaded: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Test error of every network of the experiments, for `dvc plots`."""
    columns = ["lineage", "generation", "seed", "test_error_pct"]
    errors = {name: content["runs"]["error"] for name, content in loaded.items() if "error" in content["runs"]}
    frames = [pd.DataFrame(runs).assign(experiment=name) for name, runs in errors.items()]
    if not frames:
        return pd.DataFrame(columns=columns)
    frame = pd.concat(frames)
    frame["lineage"] = frame["experiment"] + "-" + frame["lineage"]
    return frame[columns]
