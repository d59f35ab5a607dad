"""Published tables: our numbers for each printed row.

The settings `table` of a file in `config/paper/` name the published numbers (`config/reference/`) and say, cell by cell, where
ours come from (`plan/cells.py`). Each printed row becomes one or more steps per seed, and a metric that their receipts hold.
"""

import csv
import functools
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gendistill.errors import SettingError
from gendistill.plan.cells import COLUMNS, METRICS, Row, find_cell
from gendistill.plan.claims import add_claims
from gendistill.plan.layout import lay_out, matches
from gendistill.plan.network import Network
from gendistill.plan.paths import CONFIG
from gendistill.plan.plan import Study
from gendistill.plan.published_figures import add_published_figures
from gendistill.plan.runs import code_of
from gendistill.plan.step import Step, make_step
from gendistill.yaml_text import YAMLError, read_yaml


def read_reference(names: list[str]) -> list[Row]:
    """The rows of published tables, in order.

    Raises:
        SettingError: there is no such file in `config/reference/`, or it lacks a column, or holds a value that is no number.
    """
    rows = []
    for name in names:
        path = CONFIG / "reference" / f"{name}.csv"
        shown = path.relative_to(CONFIG.parent)
        if not path.is_file():
            raise SettingError(f"table.reference = {name}: there is no file {shown}.")
        found = _rows(path, path.stat().st_mtime_ns)
        missing = [column for column in (*COLUMNS, "value") if not found or column not in found[0]]
        if missing:
            raise SettingError(
                f"table.reference = {name}: {shown} has no column {missing[0]}. Needed: {', '.join(COLUMNS)}, value."
            )
        for number, row in enumerate(found, start=2):
            if row["value"] and not _is_number(row["value"]):
                raise SettingError(f"{shown}, line {number}: value = {row['value']}: must be a number, or empty.")
        rows += found
    return rows


@functools.cache
def _rows(path: Path, changed: int) -> list[Row]:
    """The rows of a file, to look at: a plan of many tables asks for the same ones again and again."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_contradictions() -> list[dict[str, Any]]:
    """What is known to be wrong, or to disagree, in published tables: `tables` by name, `text`, and `rows` if not all are meant.

    Raises:
        SettingError: the file is no YAML, or an entry lacks a part.
    """
    path = CONFIG / "reference" / "contradictions.yaml"
    shown = path.relative_to(CONFIG.parent)
    try:
        entries = (read_yaml(path.read_text(encoding="utf-8")) if path.is_file() else None) or []
    except YAMLError as error:
        raise SettingError(f"{shown}: {' '.join(str(error).split())}.") from error
    for entry in entries:
        if not {"tables", "text"} <= set(entry) <= {"tables", "text", "rows"}:
            raise SettingError(f"{shown}: {entry}: must be a mapping of tables and text, and of rows if not all are meant.")
    return entries


def notes_on(names: list[str], contradictions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The contradictions that concern a table: each `text`, and the numbers of the `rows` that it is about (none: the whole table).

    Args:
        names: of the table's reference files.
        contradictions: of all tables.

    Raises:
        SettingError: one names rows that are in none of its tables.
    """
    rows = [(name, row) for name in names for row in read_reference([name])]
    found = []
    for entry in contradictions:
        wanted = entry.get("rows") or {}
        own = [n for n, (name, row) in enumerate(rows) if wanted and name in entry["tables"] and matches(row, wanted)]
        if own or (not wanted and any(name in names for name in entry["tables"])):
            found.append({"text": entry["text"], "rows": own})
        elif wanted and not any(matches(row, wanted) for row in read_reference(entry["tables"])):
            shown = f"rows = {wanted}: no row of {', '.join(entry['tables'])} is so"
            raise SettingError(f"config/reference/contradictions.yaml: {shown}. In: {entry['text']}")
    return found


def add_table(study: Study, lineages: dict[str, list[Network]], grown: dict[tuple[str, int], list[Step]]) -> None:
    """Add the evaluations that a published table needs, and the step that sets our numbers beside the published ones.

    Raises:
        SettingError: a printed value is named by no cell or by several, a cell names what is not there or cannot be, or the
            columns do not fit.
    """
    table = study.settings["table"]
    printed = read_reference(table["reference"])
    own = [{**dict.fromkeys((*COLUMNS, "value"), ""), **{c: str(v) for c, v in row.items()}} for row in table["rows"]]
    rows = printed + own
    for kind in ("cells", "not_run"):
        for entry in table[kind]:
            if not any(matches(row, entry["for"]) for row in rows):
                raise SettingError(f"table.{kind}: for = {entry['for']}: no row of the table is so. Set in {study.where}.")
    # A cell that the paper prints empty needs nothing.
    needed = [bool(row["value"] or number >= len(printed)) for number, row in enumerate(rows)]
    cells, steps = [], {}
    for number, row in enumerate(rows):
        found = [cell for cell in table["cells"] if matches(row, cell["for"])]
        left_out = [entry for entry in table["not_run"] if matches(row, entry["for"])]
        if len(found) + len(left_out) > 1 or (needed[number] and not found + left_out):
            raise SettingError(
                f"table.cells: {len(found)} cells and {len(left_out)} entries of table.not_run name the row "
                f"{', '.join(f'{c} = {row[c]}' for c in COLUMNS)}; there must be one in all. Set in {study.where}."
            )
        for cell in found:
            for seed in study.settings["seeds"]:
                read, key = find_cell(study, cell["is"], row, lineages, grown, seed)
                steps |= {step.name: step for step in read}
                cells.append({"row": number, "seed": seed, "steps": [s.name for s in read], "key": key})
    study.plan.contradictions = contradictions = study.plan.contradictions or read_contradictions()
    kept = (*COLUMNS, "value", "spread", "note")
    settings = {
        "table": study.name,
        "title": study.settings["description"],
        "rows": [{column: row.get(column, "") for column in kept} for row in rows],
        "forms": {row["metric"]: METRICS[row["metric"]].form for row in rows if row["metric"] in METRICS},
        "not_run": [
            {"row": n, "why": entry["why"]}
            for n, row in enumerate(rows)
            for entry in table["not_run"]
            if matches(row, entry["for"])
        ],
        "choices": table["choices"],
        "notes": notes_on(table["reference"], contradictions),
        "layout": asdict(lay_out(rows, needed, table.get("columns"), study.where)),
        "scale": study.settings["scale"]["name"],
        "cells": cells,
    }
    step = make_step("paper_table", study.name, settings, code_of("paper_table"), {"cells": list(steps.values())})
    study.plan.add(f"{study.name}-paper_table", step)
    add_claims(study, settings)
    add_published_figures(study, rows, cells)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
