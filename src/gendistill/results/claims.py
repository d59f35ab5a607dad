"""The claims step: what the papers say, tested on what was run; and the verdicts, over all claims of a report."""

import statistics
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendistill.files import read_receipt, write_json
from gendistill.results.alike import check_alike, check_seeds
from gendistill.results.inference import Comparison, adjust, compare_values, seeds_among, verdict
from gendistill.results.paper_table import in_form, value_at

if TYPE_CHECKING:
    from gendistill.runtime import Runtime

SIDES = ("first", "second")
NOT_TESTED = "not tested"
AT_SMOKE = "at scale smoke the numbers mean nothing"


def evaluate_claims(settings: dict[str, Any], inputs: dict[str, Any], folder: Path, runtime: "Runtime") -> dict[str, Any]:
    """Write `claims.json`: each claim of a study with the values by seed of its two sides, and how they compare.

    Args:
        settings: `study`, `scale`, and `claims`: of each comparison the metric, and of each side its label, the form of its values
            and, by seed, the steps that it is read from.
        inputs: folders of the steps that the claims are read from.
        folder: where the file goes.
        runtime: log.

    Returns:
        The number of claims and of comparisons.

    Raises:
        UserError: a receipt is missing or lacks the metric, a seed is missing or there twice, or runs of different recipes would
            be averaged.
    """
    claims = [
        {**claim, "comparisons": [_compared(test, claim["name"]) for test in claim["comparisons"]]} for claim in settings["claims"]
    ]
    write_json(folder / "claims.json", {**settings, "claims": claims})
    count = sum(len(claim["comparisons"]) for claim in claims)
    runtime.log(f"{len(claims)} claims, {count} comparisons")
    return {"claims": len(claims), "comparisons": count}


def _compared(test: dict[str, Any], claim: str) -> dict[str, Any]:
    """A comparison with its values and their statistics in the place of the steps that they are read from."""
    first, second = (_values(test[side], f"claim {claim}, {test[side]['label']}") for side in SIDES)
    values = [{"seed": seed, "first": first.get(seed), "second": second.get(seed)} for seed in sorted(first.keys() | second.keys())]
    labels = {side: test[side]["label"] for side in SIDES}
    return {"metric": test["metric"], "is": test["is"], **labels, "values": values, **asdict(compare_values(first, second))}


def _values(side: dict[str, Any], where: str) -> dict[int, float]:
    """The value of a side for each seed."""
    seeds = [cell["seed"] for cell in side["cells"]]
    check_seeds(where, seeds, seeds)
    check_alike({cell["seed"]: cell["steps"] for cell in side["cells"]}, where)
    values = {}
    for cell in side["cells"]:
        read = [value_at(read_receipt(Path("runs", step))["metrics"], cell["key"], step) for step in cell["steps"]]
        values[cell["seed"]] = statistics.fmean(read) if side["form"] == "mean" else in_form(side["form"], read)
    return values


def judge(contents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The verdict on each claim of a report.

    A claim of several comparisons is reproduced if all are, contradicted if one is, and else undecided. The p-values are
    corrected for all comparisons of the report by Holm's method. At scale smoke nothing is tested, nor is a claim on rows that the
    study does not have.

    Args:
        contents: of each `claims.json`.

    Returns:
        The claims, each with `study`, `verdict` and `reason`, and each comparison with `adjusted_p`, `verdict` and `reason`; its
        `power_seeds` are those that it takes among all comparisons.
    """
    claims = [
        {**claim, "study": content["study"], "scale": content["scale"]} for content in contents for claim in content["claims"]
    ]
    tested = [comparison for claim in claims if claim["scale"] == "full" for comparison in claim["comparisons"]]
    adjusted = iter(adjust([comparison["p"] for comparison in tested]))
    tests = sum(comparison["p"] is not None for comparison in tested)
    judged = []
    for claim in claims:
        if claim["not_tested"]:
            judged.append({**claim, "verdict": NOT_TESTED, "reason": claim["not_tested"]})
            continue
        if claim["scale"] != "full":
            comparisons = [{**c, "adjusted_p": None, "verdict": NOT_TESTED, "reason": AT_SMOKE} for c in claim["comparisons"]]
        else:
            comparisons = [_judged(comparison, next(adjusted), max(1, tests)) for comparison in claim["comparisons"]]
        judged.append({**claim, "comparisons": comparisons} | _together(comparisons))
    return judged


def _judged(comparison: dict[str, Any], adjusted_p: float | None, tests: int) -> dict[str, Any]:
    """A comparison with its verdict, and with the seeds that it takes among so many tests."""
    numbers = Comparison(**{name: comparison[name] for name in Comparison.__dataclass_fields__})
    numbers = replace(numbers, power_seeds=seeds_among(numbers, tests))
    word, reason = verdict(comparison["is"], numbers, adjusted_p)
    return {**comparison, **asdict(numbers), "adjusted_p": adjusted_p, "verdict": word, "reason": reason}


def _together(comparisons: list[dict[str, Any]]) -> dict[str, str]:
    """The verdict on a claim from those on its comparisons, with the reason of the first that decides it."""
    for word in (NOT_TESTED, "contradicted", "undecided", "reproduced"):
        decisive = [comparison for comparison in comparisons if comparison["verdict"] == word]
        if decisive:
            several = f"{len(decisive)} of {len(comparisons)} comparisons: " if len(comparisons) > 1 else ""
            return {"verdict": word, "reason": f"{several}{decisive[0]['reason']}"}
    raise ValueError("a claim without comparisons")
