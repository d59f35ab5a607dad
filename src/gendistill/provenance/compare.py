"""What differs between two steps."""

import json
from typing import Any

from gendistill.plan.canonical import canonical
from gendistill.plan.step import NEUTRAL, Step, without_names
from gendistill.provenance.values import brief, pairs

# What tells networks of a lineage apart, and is told with their names.
OWN = ("seed", "generation", "member")
GROUPS = ("network", "objective", "recipe")
ABSENT = "not set"
# A name, and what the one and the other have of it.
Difference = tuple[str, Any, Any]


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[Difference]:
    """The keys at which two mappings differ, with both values; None where one has none."""
    keys = dict.fromkeys([*one, *other])
    return [(k, one.get(k), other.get(k)) for k in keys if (k in one) != (k in other) or _text(one[k]) != _text(other[k])]


def _text(value: Any) -> str:
    # Not canonical_json, which refuses metrics that are no numbers.
    return json.dumps(canonical(value), sort_keys=True)


def differing_settings(one: Step, other: Step) -> list[tuple[str, str, str]]:
    """The settings, by dotted name, that make two steps differ, with both values as text.

    Names of settings groups and of steps count for nothing, and of another objective, network or data set all settings are other
    ones: they are told at once.
    """
    a, b = (without_names({**NEUTRAL.get(step.kind, {}), **_without_steps(step.settings)}) for step in (one, other))
    found = []
    for group in GROUPS:
        targets = [settings.get(group, {}).get("_target_") for settings in (a, b)]
        if None not in targets and targets[0] != targets[1]:
            found.append((group, _told(one.settings[group]), _told(other.settings[group])))
            a, b = ({key: value for key, value in settings.items() if key != group} for settings in (a, b))
    a, b = dotted(a), dotted(b)
    return found + [(k, _shown(a, k, v), _shown(b, k, w)) for k, v, w in differing(a, b)]


def dotted(settings: dict[str, Any]) -> dict[str, Any]:
    """Nested settings by dotted name."""
    flat = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{inner}": v for inner, v in dotted(value).items()}
        else:
            flat[key] = value
    return flat


def _shown(settings: dict[str, Any], key: str, value: Any) -> str:
    return brief(value) if key in settings else ABSENT


def _told(group: dict[str, Any]) -> str:
    return f"{group.get('name') or group['_target_']} ({pairs(group)})".replace(" ()", "")


def _without_steps(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a table without the names of the steps in its cells, which follow from other steps."""
    if not isinstance(settings.get("cells"), list):
        return settings
    cells = [{key: value for key, value in cell.items() if key not in ("step", "steps")} for cell in settings["cells"]]
    return {**settings, "cells": cells}
