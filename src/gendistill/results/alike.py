"""Which runs may be averaged: those of one recipe, that differ by their seed only, one for each seed."""

import functools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gendistill.errors import UserError
from gendistill.files import read_receipt
from gendistill.plan.canonical import digest

# What tells runs apart that are otherwise alike; names change nothing.
OWN = ("seed", "member", "name")
ABSENT = "not set"


def check_seeds(row: str, seeds: Iterable[int], expected: Iterable[int]) -> None:
    """Check that a row has one run for each seed.

    Raises:
        UserError: a seed is missing, or is there twice.
    """
    given, wanted = list(seeds), set(expected)
    for seed in sorted(set(given)):
        if given.count(seed) > 1:
            raise UserError(f"{row}: seed {seed} is there {given.count(seed)} times: its runs would count twice. Name it once.")
    if missing := sorted(wanted - set(given)):
        raise UserError(
            f"{row}: seed {', '.join(map(str, missing))} is missing, which other rows have. Run it: snakemake --config "
            "experiments=[NAME], with the seeds of all rows."
        )


def check_alike(steps: dict[int, list[str]], where: str) -> None:
    """Check that the runs of a cell, which are to be averaged over seeds, differ by their seed only.

    Compared are their settings, code and kinds, and those of all that they were made from, as far as receipts are here.

    Args:
        steps: for each seed, the steps that the cell is read from, as `kind/id`, in the same order.
        where: the cell, for the message.

    Raises:
        UserError: they are of different recipes.
    """
    first, *others = steps
    for seed in others:
        if len(steps[seed]) != len(steps[first]):
            raise UserError(
                f"{where}: seed {first} has {len(steps[first])} runs, seed {seed} has {len(steps[seed])}. Each must have as many."
            )
        for one, other in zip(steps[first], steps[seed], strict=True):
            if difference := _difference(one, other):
                raise UserError(
                    f"{where}: seeds {first} and {seed} are of different recipes: {difference}. "
                    "Only runs that differ by their seed are averaged."
                )


def _difference(one: str, other: str) -> str:
    """The first setting in which two runs, or what they were made from, differ; empty if none does."""
    a, b = _recipe(one), _recipe(other)
    if digest(a) == digest(b):
        return ""
    key = next(key for key in sorted(a.keys() | b.keys()) if a.get(key, ABSENT) != b.get(key, ABSENT))
    if isinstance(a.get(key), list) and isinstance(b.get(key), list) and len(a[key]) == len(b[key]):
        return next(_difference(x, y) for x, y in zip(_read(one, key), _read(other, key), strict=True) if _difference(x, y))
    return f"{key} = {a.get(key, ABSENT)} in runs/{one} and {b.get(key, ABSENT)} in runs/{other}"


def _recipe(step: str) -> dict[str, Any]:
    """What a run is made from, without seeds: each setting by dotted name, code hashes, and a hash of each step that it read.

    Of a run whose receipt is not here nothing is known.
    """
    path = Path("runs", step, "receipt.json").absolute()
    return _recipe_at(path, path.stat().st_mtime_ns) if path.exists() else {}


@functools.cache
def _recipe_at(path: Path, changed: int) -> dict[str, Any]:
    spec = read_receipt(path.parent).get("spec", {})
    found = {"kind": spec.get("kind"), **{f"code of {module}": own for module, own in spec.get("code", {}).items()}}
    found |= _dotted(spec.get("settings", {}))
    return found | {
        f"input {role}": [digest(_recipe(name)) for name in _names(names)] for role, names in spec.get("inputs", {}).items()
    }


def _read(step: str, key: str) -> list[str]:
    """The steps that a run read in the role that `key` names."""
    return _names(read_receipt(Path("runs", step))["spec"]["inputs"][key.removeprefix("input ")])


def _names(names: str | list[str]) -> list[str]:
    return [names] if isinstance(names, str) else names


def _dotted(settings: dict[str, Any]) -> dict[str, str]:
    flat = {}
    for key, value in settings.items():
        if key in OWN:
            continue
        if isinstance(value, dict):
            flat |= {f"{key}.{inner}": v for inner, v in _dotted(value).items()}
        else:
            flat[key] = json.dumps(value)
    return flat
