"""Claims: what the papers say, as tests on cells of the tables of an experiment or of a published table.

The files in `config/claims/` state them; the setting `claims` of a study names those that are tested on it.
"""

from typing import Any

from gendistill.errors import SettingError
from gendistill.plan.cells import COLUMNS, METRICS
from gendistill.plan.evaluations import Cell
from gendistill.plan.paths import CONFIG
from gendistill.plan.plan import Study
from gendistill.plan.runs import code_of
from gendistill.plan.settings import Settings
from gendistill.plan.step import make_step
from gendistill.plan.tables import TABLES
from gendistill.plan.validate import check_claim
from gendistill.yaml_text import YAMLError, read_yaml

# What names a row of an experiment's tables, the table among it.
LABELS = ("table", *dict.fromkeys(label for labels, _ in TABLES.values() for label in labels))


def read_claims() -> dict[str, Settings]:
    """All claims by name, each with the file that states it as `file`.

    Raises:
        SettingError: a file is no YAML, a claim lacks a part or has one that is unknown, or two have one name.
    """
    claims: dict[str, Settings] = {}
    for path in sorted((CONFIG / "claims").glob("*.yaml")):
        shown = str(path.relative_to(CONFIG.parent))
        try:
            content = read_yaml(path.read_text(encoding="utf-8")) or {}
        except YAMLError as error:
            raise SettingError(f"{shown}: {' '.join(str(error).split())}.") from error
        for name, claim in content.items():
            if name in claims:
                raise SettingError(f"claim {name}: it is in {claims[name]['file']} and in {shown}. Give one of them another name.")
            check_claim(name, claim, shown)
            claims[name] = {**claim, "file": shown}
    return claims


class _NoRow(Exception):
    """What a claim is of is not there in the study as it is set now, and why."""


def add_claims(study: Study, settings: dict[str, Any]) -> None:
    """Add the step that tests the claims which a study names; one of rows that the study does not have is not tested,
    and none of a study that was changed on the command line, since the words are no longer true of it.

    Args:
        study: the experiment or published table.
        settings: of its step of tables: what its cells are read from.

    Raises:
        SettingError: a claim is unknown, or names what no table has, or several rows as one.
    """
    if not study.settings["claims"]:
        return
    study.plan.claims = known = study.plan.claims or read_claims()
    claims, steps = [], {}
    for name in study.settings["claims"]:
        if name not in known:
            raise SettingError(
                f"claims = {name}: there is no such claim. Allowed: {', '.join(known)}. Set in {study.where}; a new one is an "
                "entry of a file in config/claims."
            )
        claim = known[name]
        where = f"claim {name} ({claim['file']}), tested on {study.name}"
        find = _printed if "rows" in settings else _own
        own = {"name": name, "says": claim["says"], "source": claim["source"], "not_tested": "", "comparisons": []}
        try:
            if study.plan.changed:
                raise _NoRow(f"on the command line other values are given for {', '.join(study.plan.changed)}")
            for test in claim["compare"]:
                sides = {side: find(settings, test[side], test["metric"], where) for side in ("first", "second")}
                own["comparisons"].append({"metric": test["metric"], "is": test["is"], **sides})
        except _NoRow as reason:
            own |= {"not_tested": str(reason), "comparisons": []}
        cells = [cell for each in own["comparisons"] for side in ("first", "second") for cell in each[side]["cells"]]
        steps |= dict.fromkeys(step for cell in cells for step in cell["steps"])
        claims.append(own)
    shown = {"study": study.name, "scale": study.settings["scale"]["name"], "claims": claims}
    read = [study.plan.steps[step] for step in steps]
    study.plan.add(f"{study.name}-claims", make_step("claims", study.name, shown, code_of("claims"), {"cells": read}))


def _printed(settings: dict[str, Any], wanted: dict[str, Any], metric: str, where: str) -> dict[str, Any]:
    """The cells of the one row of a published table that a side of a claim names, with the form of their values."""
    _check_columns(wanted, COLUMNS[:-1], where)
    if metric not in METRICS:
        raise SettingError(f"{where}: metric = {metric}: unknown. Allowed: {', '.join(METRICS)}.")
    rows = [
        n
        for n, row in enumerate(settings["rows"])
        if row["metric"] == metric and all(row[column] == str(value) for column, value in wanted.items())
    ]
    cells = [{"seed": c["seed"], "steps": c["steps"], "key": c["key"]} for c in settings["cells"] if c["row"] in rows]
    if len(rows) == 1 and not cells:
        raise _NoRow(f"{_told(wanted)}, {metric}: it is not run")
    if len(rows) != 1:
        raise SettingError(f"{where}: {_told(wanted)}, {metric}: {len(rows)} rows are so; there must be one.")
    return {"label": _label(wanted), "form": METRICS[metric].form, "cells": cells}


def _own(settings: dict[str, Any], wanted: dict[str, Any], metric: str, where: str) -> dict[str, Any]:
    """The cells of the one row of an experiment's tables that a side of a claim names; members from scratch are averaged."""
    _check_columns(wanted, LABELS, where)
    table = wanted.get("table", "error")
    if table not in TABLES:
        raise SettingError(f"{where}: table = {table}: there is no such table. Allowed: {', '.join(TABLES)}.")
    labels, metrics = TABLES[table]
    if metric not in metrics:
        raise SettingError(f"{where}: metric = {metric}: unknown in table {table}. Allowed: {', '.join(metrics)}.")
    named = {key: str(value) for key, value in wanted.items() if key != "table"}
    found: list[Cell] = [
        cell
        for cell in settings["cells"]
        if cell["table"] == table and all(str(cell.get(key)) == value for key, value in named.items())
    ]
    rows = {tuple(cell[label] for label in labels) for cell in found}
    shown = found or [cell for cell in settings["cells"] if cell["table"] == table]
    known = ", ".join(dict.fromkeys("/".join(str(cell[label]) for label in labels) for cell in shown))
    if not found:
        raise _NoRow(f"{_told(named)}: no row of table {table} is so. It has {known or 'none'} ({'/'.join(labels)})")
    if len(rows) > 1:
        raise SettingError(f"{where}: {_told(named)}: {len(rows)} rows of table {table} are so; there must be one: {known}.")
    by_seed: dict[int, list[str]] = {}
    for cell in found:
        by_seed.setdefault(cell["seed"], []).append(cell["step"])
    cells = [{"seed": seed, "steps": steps, "key": metric} for seed, steps in by_seed.items()]
    return {"label": _label(named), "form": "mean", "cells": cells}


def _check_columns(wanted: dict[str, Any], allowed: tuple[str, ...], where: str) -> None:
    for column in wanted:
        if column not in allowed:
            raise SettingError(f"{where}: {column} = {wanted[column]}: unknown. Allowed: {', '.join(allowed)}.")


def _told(wanted: dict[str, Any]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in wanted.items())


def _label(named: dict[str, Any]) -> str:
    """A row of a table in words, such as `ban, generation 1`."""
    return ", ".join(f"generation {v}" if k == "generation" else f"on {v}" if k == "target" else str(v) for k, v in named.items())
