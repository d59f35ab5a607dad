"""The shape of a published table: which of its numbers stand in one line, and which columns they stand in."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from gendistill.errors import SettingError
from gendistill.plan.cells import COLUMNS, Row

# What a heading leaves out, the first first, where the rest tells the columns apart.
LEFT_OUT = ("generation", "network", "dataset", "method", "metric")


@dataclass(frozen=True)
class Layout:
    """Where each number of a published table stands.

    Attributes:
        labels: the columns of the reference file that name a line.
        lines: their values, for each line.
        columns: the parts of each column's heading: pairs of a column of the reference file and its value, or of `name` and a text.
        places: for each row of the reference file its line and its column, from 0; None for one that the table needs not show.
    """

    labels: list[str]
    lines: list[list[str]]
    columns: list[list[list[str]]]
    places: list[list[int] | None]


def lay_out(rows: list[Row], needed: list[bool], chosen: list[str] | dict[str, dict[str, Any]] | None, where: str) -> Layout:
    """The lines and columns of a table.

    A line is named by the printed row, and by what else tells its numbers apart. Rows whose labels are all equal are as many
    lines; those of them that are not `needed` are left out.

    Args:
        rows: one for each printed number.
        needed: whether a row has a printed number or one of ours.
        chosen: what the columns are: labels whose values make them, or headings with the rows that stand below each; if None,
            the labels that vary within some printed row.
        where: the file of the settings, for messages.

    Raises:
        SettingError: a label is there twice, a row stands below no heading or below several, or a heading has no rows.
    """
    if isinstance(chosen, dict):
        keys = [(name,) for name in _named(rows, chosen, where)]
        heads = {(name,): [["name", name]] for name in chosen}
        others = COLUMNS[1:]
    else:
        labels = _varying(rows) if chosen is None else chosen
        if len(set(labels)) < len(labels):
            raise SettingError(f"table.columns = {labels}: a label is there twice. Set in {where}.")
        keys = [tuple(row[label] for label in labels) for row in rows]
        heads = _headings(list(dict.fromkeys(keys)), labels)
        others = tuple(column for column in COLUMNS[1:] if column not in labels)
    names = ["row"]
    for label in others:
        groups: dict[tuple[str, ...], set[str]] = {}
        for row, key in zip(rows, keys, strict=True):
            groups.setdefault((*(row[name] for name in names), *key), set()).add(row[label])
        names += [label] if any(len(values) > 1 for values in groups.values()) else []
    return _placed(rows, needed, names, keys, heads)


def _varying(rows: list[Row]) -> list[str]:
    """The labels that vary within some printed row; if none does, the metric."""
    found = []
    for label in COLUMNS[1:]:
        values: dict[str, set[str]] = {}
        for row in rows:
            values.setdefault(row["row"], set()).add(row[label])
        found += [label] if any(len(own) > 1 for own in values.values()) else []
    return found or ["metric"]


def _named(rows: list[Row], chosen: dict[str, dict[str, Any]], where: str) -> list[str]:
    """The heading that each row stands below."""
    found = []
    for row in rows:
        own = [name for name, wanted in chosen.items() if matches(row, wanted)]
        if len(own) != 1:
            which = f" ({', '.join(own)})" if own else ""
            raise SettingError(
                f"table.columns: {len(own)} columns{which} have the row "
                f"{', '.join(f'{c} = {row[c]}' for c in COLUMNS)}; it must be one. Set in {where}."
            )
        found += own
    if unused := [name for name in chosen if name not in found]:
        raise SettingError(f"table.columns: {unused[0]} = {chosen[unused[0]]}: no row of the table is so. Set in {where}.")
    return found


def matches(row: Row, wanted: dict[str, Any]) -> bool:
    """Whether a printed row is one that `wanted` names: each column is equal, or one of a list."""
    for column, value in wanted.items():
        values = value if isinstance(value, list) else [value]
        if row[column] not in [str(v) for v in values]:
            return False
    return True


def _headings(keys: list[tuple[str, ...]], labels: list[str]) -> dict[tuple[str, ...], list[list[str]]]:
    """The parts of each heading: as few labels as tell the columns apart."""
    kept = list(labels)
    for label in LEFT_OUT:
        rest = [other for other in kept if other != label]
        short = [tuple(key[labels.index(other)] for other in rest) for key in keys]
        if len(set(short)) == len(keys) and all(any(key) for key in short):
            kept = rest
    return {key: [[label, key[labels.index(label)]] for label in kept if key[labels.index(label)]] for key in keys}


def _placed(rows: list[Row], needed: list[bool], names: list[str], keys: list[tuple[str, ...]], heads: dict[Any, Any]) -> Layout:
    columns = list(heads)
    places: list[list[int] | None] = []
    lines: list[tuple[str, ...]] = []
    alike = Counter(tuple(row[column] for column in COLUMNS) for row in rows)
    count: dict[Any, int] = {}
    own_line: dict[Any, int] = {}
    for row, key, shown in zip(rows, keys, needed, strict=True):
        name = tuple(row[label] for label in names)
        if alike[tuple(row[column] for column in COLUMNS)] > 1 and not shown:
            places.append(None)
            continue
        # The second row of equal labels stands in the second line of its name.
        nth = count[name, key] = count.get((name, key), 0) + 1
        if (name, nth) not in own_line:
            own_line[name, nth] = len(lines)
            lines.append(name)
        places.append([own_line[name, nth], columns.index(key)])
    return Layout(names, [list(line) for line in lines], list(heads.values()), places)
