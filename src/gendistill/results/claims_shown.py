"""Claims with their verdicts as text for the report."""

from typing import Any

from gendistill.plan.cells import CHOSEN_ON_TEST as CHOSEN
from gendistill.results.inference import FEWEST, MOST_SEEDS, p_text

# A verdict is a word and a sign, so that it needs no colour.
SIGNS = {"reproduced": "✓", "contradicted": "✗", "undecided": "?", "not tested": "–"}


def shown_claims(claims: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each claim with its `sign`, and each of its comparisons as text: see `gendistill.results.claims.judge` for what they hold."""
    tested = sum(comparison["adjusted_p"] is not None for claim in claims for comparison in claim["comparisons"])
    return [
        {**claim, "sign": SIGNS[claim["verdict"]], "comparisons": [_shown(each, tested) for each in claim["comparisons"]]}
        for claim in claims
    ]


def _shown(comparison: dict[str, Any], tested: int) -> dict[str, Any]:
    facts = {"Difference": _difference(comparison)}
    if comparison["adjusted_p"] is not None:
        facts[f"p after Holm, {tested} comparison{'' if tested == 1 else 's'}"] = p_text(comparison["adjusted_p"])
    facts["n"] = _n(comparison)
    if comparison["verdict"] == "undecided":
        facts["Undecided because"] = _why(comparison)
        facts["Seeds it would take"] = _seeds(comparison)
    values = [
        [str(value["seed"]), *("–" if value[side] is None else f"{value[side]:.4g}" for side in ("first", "second"))]
        for value in comparison["values"]
    ]
    metric = comparison["metric"].replace("_pct", " %").replace("_", " ") + chosen_mark(comparison["metric"])
    return {**comparison, "sign": SIGNS[comparison["verdict"]], "metric": metric, "facts": facts, "values": values}


def _difference(comparison: dict[str, Any]) -> str:
    """The difference of means and its interval."""
    if comparison["low"] is None:
        return f"{signed(comparison['difference'])} (no interval from one run)"
    low, high = signed(comparison["low"]), signed(comparison["high"])
    return f"{signed(comparison['difference'])}, 95 % interval {low} to {high}"


def _n(comparison: dict[str, Any]) -> str:
    if comparison["n"] == 1:
        return "1 seed"
    what, of = ("pair", "of the same seed") if comparison["paired"] else ("seed", "on the smaller side")
    return f"{comparison['n']} {what}s {of}"


def signed(number: float) -> str:
    """A difference with its sign, and four decimals where it is small."""
    return f"{number:+.4f}" if 0 < abs(number) < 0.1 else f"{number:+.2f}"


def chosen_mark(metric: str) -> str:
    """A mark for a metric whose epoch or generation was chosen on the test images: it is too good."""
    return " †" if metric in CHOSEN or metric.startswith("best_epoch") else ""


def _why(comparison: dict[str, Any]) -> str:
    """Why there is no verdict on a comparison."""
    if comparison["n"] < FEWEST or comparison["low"] is None:
        return f"a verdict needs {FEWEST} seeds"
    return "the interval includes zero" if comparison["low"] <= 0 <= comparison["high"] else "p is not below 0.05"


def _seeds(comparison: dict[str, Any]) -> str:
    """How many seeds would find the difference that was seen, among all comparisons, with a power of 80 %."""
    if comparison["n"] < 2:
        return "unknown: at least two are needed to tell"
    if not comparison["difference"] or not comparison["sd"]:
        return "unknown: there is no difference, or no spread"
    needed = f"{comparison['power_seeds']:,}" if comparison["power_seeds"] else f"more than {MOST_SEEDS:,}"
    where = "in all" if comparison["paired"] else "on each side"
    return f"{needed} {where}"
