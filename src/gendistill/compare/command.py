"""`python -m gendistill compare A B`: the tables of two experiments, or of two revisions, as differences with intervals."""

from pathlib import Path

from gendistill.compare.differences import adjust_all, compare_tables, records
from gendistill.compare.rows import Key, Values, read_rows
from gendistill.compare.sources import Side, file_of, find_sides
from gendistill.compare.text import heading, settings_that_differ, table_text
from gendistill.errors import UserError
from gendistill.files import write_csv

Rows = dict[Key, Values]


def compare(first: str, second: str, metric: str | None = None, file: Path | None = None) -> str:
    """Each table that two sides have, as Markdown: both means, their difference with its interval, p and n of each row.

    Args:
        first: an experiment, a published table, a revision, or NAME@REVISION.
        second: the same.
        metric: the only one to compare; all, if it is none.
        file: where to write the same as CSV.

    Raises:
        UserError: a name or the metric is unknown, the two have no table in common, or no values, a file is damaged or has a
            seed twice, or `file` can't be written.
    """
    sides = find_sides(first, second)
    pairs = _pairs(*sides)
    read = {(names, table): _read(sides, names, table) for names in pairs for table in _shared(sides, names)}
    if not read:
        raise UserError(_nothing_shared(sides))
    known = dict.fromkeys(m for rows in read.values() for own in rows for _, m in own)
    if not known:
        raise UserError(
            f"nothing was run of what {sides[0].label}, and {sides[1].label}, both have: there are no values to compare."
        )
    if metric not in (None, *known):
        raise UserError(f"--metric {metric}: neither has it. Known: {', '.join(known)}.")
    tables = [compare_tables(*which, *(_chosen(own, metric) for own in rows)) for which, rows in read.items()]
    tables = adjust_all([table for table in tables if table.rows or any(table.only)])
    if file:
        write_csv(file, records(tables))
    lines = ["# A minus B", "", *heading(*sides, tables)]
    for names in pairs:
        shown = [table for table in tables if table.names == names]
        lines += ["", f"## {names[0] if names[0] == names[1] else ' minus '.join(names)}", ""] if shown else []
        lines += settings_that_differ(names, *sides) if shown else []
        for table in shown:
            lines += ["", *([f"### {table.table}", ""] if table.table else []), *table_text(table)]
    return "\n".join([*lines, *_only(sides, pairs)])


def _pairs(first: Side, second: Side) -> list[tuple[str, str]]:
    """The names that are compared with each other."""
    if first.name and second.name:
        return [(first.name, second.name)]
    return [(name, name) for name in first.snapshot.tables if name in second.snapshot.tables]


def _shared(sides: tuple[Side, Side], names: tuple[str, str]) -> list[str]:
    """The tables that both have."""
    one, other = (side.snapshot.tables[name] for side, name in zip(sides, names, strict=True))
    return [table for table in one if table in other]


def _read(sides: tuple[Side, Side], names: tuple[str, str], table: str) -> tuple[Rows, Rows]:
    first, second = (
        read_rows(side.snapshot.tables[name][table], table, f"{file_of(name, table)}, {side.snapshot.where}")
        for side, name in zip(sides, names, strict=True)
    )
    return first, second


def _chosen(rows: Rows, metric: str | None) -> Rows:
    return {key: values for key, values in rows.items() if metric in (None, key[1])}


def _nothing_shared(sides: tuple[Side, Side]) -> str:
    told = []
    for side in sides:
        has = (
            [table or "a published table" for table in side.snapshot.tables[side.name]] if side.name else list(side.snapshot.tables)
        )
        told.append(f"{side.label}, has {', '.join(has)}")
    return f"the two have no table in common: {'; '.join(told)}."


def _only(sides: tuple[Side, Side], pairs: list[tuple[str, str]]) -> list[str]:
    """The tables that only one has."""
    lines = []
    for which, own, other, index in (("A", *sides, 0), ("B", *sides[::-1], 1)):
        found = []
        for names in pairs:
            tables, others = own.snapshot.tables[names[index]], other.snapshot.tables[names[1 - index]]
            found += [f"{names[index]} {table}".strip() for table in tables if table not in others]
        if not own.name:
            found += [name for name in own.snapshot.tables if name not in other.snapshot.tables]
        lines += ["", f"Tables that only {which} has: {', '.join(found)}."] if found else []
    return lines
