"""Which runs may be averaged: those of one recipe, that differ by their seed only, one for each seed."""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gendistill.errors import UserError
from gendistill.files import read_receipt

# What tells runs apart that are otherwise alike; names change nothing.
OWN = ("seed", "member", "name")
ABSENT = "not set"
INPUT = "input "
# Numbers of recipes, in the order in which they were met.
_NUMBERS: dict[frozenset[tuple[str, Any]], int] = {}


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
    if a == b:
        return ""
    key = next(key for key in sorted(a.keys() | b.keys()) if a.get(key, ABSENT) != b.get(key, ABSENT))
    if key.startswith(INPUT) and len(a.get(key, ())) == len(b.get(key, ())):
        return next(found for x, y in zip(_read(one, key), _read(other, key), strict=True) if (found := _difference(x, y)))
    return f"{key} = {a.get(key, ABSENT)} in runs/{one} and {b.get(key, ABSENT)} in runs/{other}"


def _recipe(step: str) -> dict[str, Any]:
    """What a run is made from, without seeds: each setting by dotted name, code hashes, and for each step that it read a number.

    Runs are alike, through all that they were made from, if these are equal. Of one whose receipt is not here nothing is known.
    """
    path = Path("runs", step, "receipt.json").absolute()
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return {}
    return _recipe_at(path, changed)


@functools.cache
def _recipe_at(path: Path, changed: int) -> dict[str, Any]:
    spec = read_receipt(path.parent).get("spec", {})
    found = {"kind": spec.get("kind"), **{f"code of {module}": own for module, own in spec.get("code", {}).items()}}
    found |= _dotted(spec.get("settings", {}))
    return found | {f"{INPUT}{role}": tuple(map(_number, _names(names))) for role, names in spec.get("inputs", {}).items()}


def _number(step: str) -> int:
    """A number that runs have in common if they are alike."""
    return _NUMBERS.setdefault(frozenset(_recipe(step).items()), len(_NUMBERS))


def _read(step: str, key: str) -> list[str]:
    """The steps that a run read in the role that `key` names."""
    return _names(read_receipt(Path("runs", step))["spec"]["inputs"][key.removeprefix(INPUT)])


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
            # Text tells 1 from 1.0 and true, and a list can be compared.
            flat[key] = repr(value)
    return flat
