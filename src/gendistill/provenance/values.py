"""Values and lines as they are read on a terminal."""

import json
import textwrap
from typing import Any

from gendistill.plan.nested import shortened

WIDTH = 112
# What a member of a settings group is, and no setting that one would look for.
UNSHOWN = ("name", "_target_", "trains", "needs", "reductions", "gives", "members", "medium", "on_disk")


def number(value: float) -> str:
    """A number with four digits that count, at least two of them decimals."""
    if isinstance(value, int) or value == 0:
        return str(value)
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.4g}"


def brief(value: Any) -> str:
    """A value of the settings or metrics on a part of a line."""
    if value is None or isinstance(value, bool):
        return json.dumps(value).replace("null", "none")
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (dict, list)):
        text = json.dumps(value)
        return text if len(text) <= 60 else f"{len(value)} entries"
    return str(value)


def pairs(settings: dict[str, Any]) -> str:
    """Settings on one line."""
    return ", ".join(f"{key} {brief(value)}" for key, value in shortened(settings).items() if key not in UNSHOWN)


def field(name: str, text: str, indent: int = 5, hang: int = 0) -> str:
    """A line that starts with what it tells of, wrapped so that the text stays in its column.

    Of several that follow each other in one column, what is wrapped stands further in, by `hang`.
    """
    start = " " * indent + f"{name:<11} "
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=start,
        subsequent_indent=" " * (len(start) + hang),
        break_long_words=False,
        break_on_hyphens=False,
    )


def numbers_as_ranges(numbers: list[int]) -> str:
    """Numbers of steps as people write them: `[1], [2], [4]-[6]`."""
    parts: list[list[int]] = []
    for n in sorted(numbers):
        if parts and n == parts[-1][-1] + 1:
            parts[-1].append(n)
        else:
            parts.append([n])
    return ", ".join(f"[{p[0]}]-[{p[-1]}]" if len(p) > 2 else ", ".join(f"[{n}]" for n in p) for p in parts)
