"""The rows that two tables both have, as differences; and what only one has."""

import statistics
from dataclasses import dataclass, replace
from typing import Any

from gendistill.compare.rows import Key, Values, labels_of, readable_row
from gendistill.results.inference import Comparison, adjust, compare_values

BEST, LAST = "best_epoch_test_error_pct", "test_error_pct"


@dataclass(frozen=True)
class Row:
    """A row and a metric that both tables have.

    Attributes:
        labels: that name the row.
        metric: its metric.
        first: the values that were compared, of the first.
        second: the same of the second.
        comparison: of the two.
        same: whether all values are of the same runs, so that there is nothing to test.
        only: seeds that only the first, and that only the second has.
        adjusted_p: after Holm's correction over all rows that are shown; None where there was no test.
    """

    labels: tuple[str, ...]
    metric: str
    first: list[float]
    second: list[float]
    comparison: Comparison
    same: bool
    only: tuple[tuple[int, ...], tuple[int, ...]]
    adjusted_p: float | None = None


@dataclass(frozen=True)
class Table:
    """The differences of one table.

    Attributes:
        names: of the experiments or published tables.
        table: the table's name; empty for a published table.
        rows: that both have.
        only: rows that only the first, and that only the second has, to be read.
        members: whether values are means of several networks from scratch.
    """

    names: tuple[str, str]
    table: str
    rows: list[Row]
    only: tuple[list[str], list[str]]
    members: bool


def compare_tables(names: tuple[str, str], table: str, first: dict[Key, Values], second: dict[Key, Values]) -> Table:
    """Compare each row and metric that two tables have."""
    shared = [key for key in first if key in second]
    if _has_last_epochs_only(first) and _has_last_epochs_only(second):
        # They would be tested twice.
        shared = [key for key in shared if key[1] != BEST]
    rows = [_row(key, first[key], second[key]) for key in shared]
    members = any(values.members for own in (first, second) for values in own.values())
    return Table(names, table, rows, (_only(first, second), _only(second, first)), members)


def _has_last_epochs_only(rows: dict[Key, Values]) -> bool:
    """Whether networks were evaluated after the last epoch only, so that the best epoch's error is the last one's."""
    best = {labels: values for (labels, metric), values in rows.items() if metric == BEST}
    return all((labels, LAST) in rows and rows[labels, LAST].by_seed == values.by_seed for labels, values in best.items())


def _row(key: Key, first: Values, second: Values) -> Row:
    comparison = compare_values(first.by_seed, second.by_seed)
    only = tuple(sorted(first.by_seed.keys() - second.by_seed.keys())), tuple(sorted(second.by_seed.keys() - first.by_seed.keys()))
    shared = first.by_seed.keys() & second.by_seed.keys()
    seeds = [sorted(shared if comparison.paired else own.by_seed) for own in (first, second)]
    values = [[own.by_seed[seed] for seed in compared] for own, compared in zip((first, second), seeds, strict=True)]
    same = seeds[0] == seeds[1] and values[0] == values[1] and all(first.steps[seed] == second.steps[seed] for seed in seeds[0])
    return Row(*key, *values, comparison, same, only)


def _only(own: dict[Key, Values], other: dict[Key, Values]) -> list[str]:
    """Rows that `own` has and `other` has not; of a row that both have, the metrics."""
    known = {labels for labels, _ in other}
    left = [key for key in own if key not in other]
    return list(dict.fromkeys(readable_row(labels) + (f" {metric}" if labels in known else "") for labels, metric in left))


def adjust_all(tables: list[Table]) -> list[Table]:
    """The tables with the p-values of all their rows corrected together."""
    tested = [None if row.same else row.comparison.p for table in tables for row in table.rows]
    adjusted = iter(adjust(tested))
    return [replace(table, rows=[replace(row, adjusted_p=next(adjusted)) for row in table.rows]) for table in tables]


def records(tables: list[Table]) -> list[dict[str, Any]]:
    """All rows as numbers, for a CSV file: the columns of what is shown, and what it is computed from."""
    found = []
    for table in tables:
        for row in table.rows:
            c = row.comparison
            record = {"first": table.names[0], "second": table.names[1], "table": table.table}
            record |= dict(zip(labels_of(table.table), row.labels, strict=True)) | {"metric": row.metric}
            for which, values in (("first", row.first), ("second", row.second)):
                record |= {f"{which}_mean": statistics.fmean(values), f"{which}_sd": sd_of(values), f"{which}_n": len(values)}
            record |= {"difference": c.difference, "low": c.low, "high": c.high, "p": c.p, "adjusted_p": row.adjusted_p}
            record |= {"n": c.n, "paired": c.paired, "sd": c.sd, "power_seeds": c.power_seeds, "same_runs": row.same}
            found.append(record)
    return found


def sd_of(values: list[float]) -> float | None:
    """The standard deviation (n - 1); None of one value."""
    return statistics.stdev(values) if len(values) > 1 else None
