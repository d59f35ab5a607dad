"""The rows of a table by run: for each, the values by seed."""

import csv
import io
import math
import statistics
from dataclasses import dataclass

from gendistill.errors import UserError
from gendistill.plan.cells import COLUMNS
from gendistill.plan.tables import TABLES

# What names a row (its labels, in order), and a metric.
Key = tuple[tuple[str, ...], str]


@dataclass(frozen=True)
class Values:
    """What a row has of a metric.

    Attributes:
        by_seed: the value of each seed; of several members from scratch, their mean.
        steps: the runs that the value of each seed is of.
        members: whether a value is a mean of several.
    """

    by_seed: dict[int, float]
    steps: dict[int, frozenset[str]]
    members: bool


def labels_of(table: str) -> tuple[str, ...]:
    """The columns that name a row; `table` is empty for a published table."""
    return TABLES[table][0] if table else tuple(column for column in COLUMNS if column != "metric")


def read_rows(text: str, table: str, where: str) -> dict[Key, Values]:
    """The rows of a table by run.

    Args:
        text: CSV.
        table: its name; empty for a published table.
        where: the file, for messages.

    Raises:
        UserError: a column is missing, a value is no finite number, or a seed is there twice.
    """
    reader, labels = csv.DictReader(io.StringIO(text)), labels_of(table)
    needed = (*labels, "seed", "step", *(() if table else ("metric", "value")))
    if missing := [column for column in needed if column not in (reader.fieldnames or [])]:
        raise UserError(f"{where} has no column {', '.join(missing)}. Needed: {', '.join(needed)}. snakemake writes it anew.")
    found: dict[Key, dict[int, dict[str, tuple[float, str]]]] = {}
    for line, record in enumerate(reader, start=2):
        seed = _seed(record["seed"], f"{where}, line {line}")
        metrics = TABLES[table][1] if table else (record["metric"],)
        for metric in metrics:
            value = record.get(metric if table else "value") or ""
            if not value:
                continue
            row = tuple(record[label] or "" for label in labels)
            named = f"{where}, line {line}, {readable_row(row)}: {metric} of seed {seed}"
            members = found.setdefault((row, metric), {}).setdefault(seed, {})
            member = record.get("member") or ""
            if member in members:
                raise UserError(
                    f"{named} is there twice: it would count twice. Take one out, or let snakemake write the file anew."
                )
            members[member] = (_number(value, named), record["step"] or "")
    return {key: _values(seeds) for key, seeds in found.items()}


def _values(seeds: dict[int, dict[str, tuple[float, str]]]) -> Values:
    means = {seed: statistics.fmean(value for value, _ in members.values()) for seed, members in seeds.items()}
    steps = {seed: frozenset(step for _, step in members.values()) for seed, members in seeds.items()}
    return Values(means, steps, any(len(members) > 1 for members in seeds.values()))


def readable_row(row: tuple[str, ...]) -> str:
    """The labels of a row, joined as in the names of cells."""
    return "/".join(label for label in row if label)


def _seed(text: str | None, where: str) -> int:
    if not (text or "").isdecimal():
        raise UserError(f"{where}: seed = {text}: must be a whole number. snakemake writes the file anew.")
    return int(text or "")


def _number(text: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{where} is {text}: only finite numbers can be compared.")
    return number
