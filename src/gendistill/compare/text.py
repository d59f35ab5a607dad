"""Differences as Markdown."""

import statistics
from typing import Any

from tabulate import tabulate

from gendistill.compare.differences import Row, Table, sd_of
from gendistill.compare.rows import labels_of, readable_row
from gendistill.compare.sources import PARAMS, Side
from gendistill.provenance.compare import ABSENT, differing, dotted
from gendistill.provenance.values import brief
from gendistill.results.inference import p_text

# Words that change no result.
UNSHOWN = ("description", "claims")
SHOWN_SETTINGS = 20
NO_VALUE = "–"


def heading(first: Side, second: Side, tables: list[Table]) -> list[str]:
    """What is compared, and how to read it."""
    tests = sum(row.adjusted_p is not None for table in tables for row in table.rows)
    lines = [f"- A: {first.label}", f"- B: {second.label}", ""]
    lines.append("Mean ± standard deviation over seeds. Difference: A minus B, with its 95 % bootstrap interval.")
    if tests:
        lines[-1] += (
            " Where the two share at least three seeds, or one has no others, values are paired by seed, and seeds that only "
            "one has are left out; else they are two independent samples. p: paired t-test, or Welch's, two-sided, after "
            f"Holm's correction for {'the one test' if tests == 1 else f'all {tests} tests'} shown."
        )
    if any(table.members for table in tables):
        lines.append("Networks from scratch of one seed are averaged first: a seed counts once.")
    return lines


def settings_that_differ(names: tuple[str, str], first: Side, second: Side) -> list[str]:
    """The settings in which two experiments differ, as far as they are known."""
    known = [side.snapshot.settings.get(name) for name, side in zip(names, (first, second), strict=True)]
    for name, side, settings in zip(names, (first, second), known, strict=True):
        if not isinstance(settings, dict):
            return [f"How the settings differ is not known: {PARAMS}, {side.snapshot.where}, does not have those of {name}."]
    a, b = (dotted({key: value for key, value in settings.items() if key not in UNSHOWN}) for settings in known)
    found = [f"- {key}: {_value(a, key)} | {_value(b, key)}" for key, _, _ in differing(a, b)]
    more = [f"- and {len(found) - SHOWN_SETTINGS} more"] if len(found) > SHOWN_SETTINGS else []
    lines = ["Settings that differ (A | B):", "", *found[:SHOWN_SETTINGS], *more] if found else ["No setting differs."]
    if "smoke" in [settings.get("scale", {}).get("name") for settings in known]:
        lines += ["", "At scale smoke the numbers mean nothing."]
    return lines


def _value(settings: dict[str, Any], key: str) -> str:
    return brief(settings[key]) if key in settings else ABSENT


def table_text(table: Table) -> list[str]:
    """One table, and below it what only one of the two has."""
    if table.rows and all(row.same for row in table.rows):
        lines = [f"The same runs in both: {', '.join(dict.fromkeys(readable_row(row.labels) for row in table.rows))}."]
    else:
        lines = [_markdown(table)] if table.rows else ["The two have no row in common."]
    for which, only in zip("AB", table.only, strict=True):
        if only:
            lines += ["", f"Only {which} has: {', '.join(only)}."]
    for (in_a, in_b, paired), rows in _seeds(table).items():
        parts = [f"seed {', '.join(map(str, seeds))} only in {which}" for which, seeds in (("A", in_a), ("B", in_b)) if seeds]
        where = "all rows" if len(rows) == len({row.labels for row in table.rows}) else ", ".join(rows)
        lines += ["", f"Seeds: {'; '.join(parts)} ({'left out' if paired else 'not paired'}): {where}."]
    return lines


def _seeds(table: Table) -> dict[tuple[tuple[int, ...], tuple[int, ...], bool], list[str]]:
    """The rows of which the two have other seeds, by these seeds."""
    found: dict[tuple[tuple[int, ...], tuple[int, ...], bool], list[str]] = {}
    for row in table.rows:
        if any(row.only):
            rows = found.setdefault((*row.only, row.comparison.paired), [])
            if readable_row(row.labels) not in rows:
                rows.append(readable_row(row.labels))
    return found


def _markdown(table: Table) -> str:
    labels = labels_of(table.table)
    # Some printed tables need few labels only.
    used = [n for n in range(len(labels)) if any(row.labels[n] for row in table.rows)]
    headers = [*(labels[n] for n in used), "metric", "A", "B", "difference [95 % interval]", "p", "n"]
    shown = [[*(row.labels[n] for n in used), row.metric, *_cells(row)] for row in table.rows]
    # Some printed names have a bar, which would end a cell.
    return tabulate([[text.replace("|", "\\|") for text in line] for line in shown], headers, "pipe", disable_numparse=True)


def _cells(row: Row) -> list[str]:
    c = row.comparison
    means = [statistics.fmean(values) for values in (row.first, row.second)]
    digits = 4 if max(map(abs, means)) < 1 else 2
    shown = [_mean(mean, sd_of(values), digits) for mean, values in zip(means, (row.first, row.second), strict=True)]
    n = f"{c.n} pair{'' if c.n == 1 else 's'}" if c.paired else f"{len(row.first)} and {len(row.second)}"
    if row.same:
        return [*shown, "the same runs", NO_VALUE, str(len(row.first))]
    interval = "" if c.low is None else f" [{c.low:+z.{digits}f}, {c.high:+z.{digits}f}]"
    return [*shown, f"{c.difference:+z.{digits}f}{interval}", NO_VALUE if row.adjusted_p is None else p_text(row.adjusted_p), n]


def _mean(mean: float, sd: float | None, digits: int) -> str:
    return f"{mean:.{digits}f} (one run)" if sd is None else f"{mean:.{digits}f} ± {sd:.{digits}f}"
