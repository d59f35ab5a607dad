"""A made-up report, in the current directory: finished runs without any training, a figure, claims, and a published table."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gendistill.plan.plan import Plan
from gendistill.plan.step import Step
from gendistill.results.inference import compare_values
from gendistill.results.report import report_files
from tests import fake_runs

COMMAND = "snakemake --config 'experiments=[demo,efficacy_table9]'"
SVG = (
    '<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 40 30">'
    "<metadata>made up</metadata>"
    '<defs><path id="mark" d="M0 0h4v4z"/><clipPath id="clip"><rect width="40" height="30"/></clipPath></defs>'
    '<g clip-path="url(#clip)"><use xlink:href="#mark"/><text x="9" y="9">5.0</text></g></svg>'
)
FIGURE = {"title": "Error by generation", "caption": "Mean and spread & more.", "alt": 'Lines of "error" by generation'}


# Of each claim the values by seed of its two sides; the first is said to be lower.
CLAIMS = {
    "reproduced": ([4.0, 4.2, 3.9, 4.1, 4.0], [5.0, 5.1, 5.0, 5.2, 4.9]),
    "contradicted": ([5.0, 5.1, 5.0, 5.2, 4.9], [4.0, 4.2, 3.9, 4.1, 4.0]),
    "undecided": ([5.0, 5.1, 4.8], [5.1, 5.0, 5.0]),
    "single": ([5.0], [5.2]),
}


def claims(study: str, scale: str = "full") -> dict[str, Any]:
    """The content of `claims.json`; the claim `both` has two comparisons, one of which is reproduced."""
    tests = {}
    for name, sides in CLAIMS.items():
        first, second = (dict(enumerate(values)) for values in sides)
        values = [{"seed": seed, "first": first[seed], "second": second[seed]} for seed in first]
        labels = {"metric": "test_error_pct", "first": "ban generation 1", "is": "lower", "second": "ban generation 0"}
        tests[name] = {**labels, "values": values, **asdict(compare_values(first, second))}
    told = {"says": "A student beats its teacher.", "source": "BAN, Table 2", "not_tested": ""}
    own = [{"name": name, **told, "comparisons": [test]} for name, test in tests.items()]
    own.append({"name": "both", **told, "comparisons": [tests["reproduced"], tests["contradicted"]]})
    own.append({"name": "absent", **told, "not_tested": "it has no such row", "comparisons": []})
    return {"study": study, "scale": scale, "claims": own}


def write_runs(experiments: list[str], overrides: tuple[str, ...] = ()) -> Plan:
    """The runs of experiments and published tables, with a made-up figure and claims in the place of those that they ask for."""
    plan = fake_runs.build_plan(experiments, overrides)
    others = {name for name, step in plan.steps.items() if step.kind in ("figure", "claims")}
    plan.steps = {name: step for name, step in plan.steps.items() if name not in others}
    plan.roles = {role: name for role, name in plan.roles.items() if name not in others}
    for step in plan.steps.values():
        fake_runs.write_step(step)
        _complete(step)
    for study in experiments:
        (source,) = [s.name for s in plan.steps.values() if study in (s.settings.get("experiment"), s.settings.get("table"))]
        scale = plan.settings[study]["scale"]["name"]
        tested = Step("claims", f"{study}-0123456789", {"study": study, "scale": scale}, {}, {"cells": source})
        plan.add(f"{study}-claims", tested)
        _write(tested, {"claims.json": json.dumps(claims(study, scale))})
        figure = Step("figure", f"{study}-0123456789", {"study": study, "figure": "lines", **FIGURE}, {}, {"tables": source})
        plan.add(f"{study}-lines-figure", figure)
        _write(figure, {"figure.svg": SVG, "figure.pdf": "PDF", "figure.png": "PNG"})
    fake_runs.write_json("results/index.json", plan.index)
    return plan


def write_report(plan: Plan, overrides: tuple[str, ...] = ()) -> str:
    """All files of the report; returns the page."""
    files = report_files(plan, COMMAND, overrides)
    for name, content in {**files, "params.yaml": ""}.items():
        path = Path("results", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(files["report.html"])


def _complete(step: Step) -> None:
    """What a step of tables leaves, as its receipt tells it."""
    name = {"tables": "tables.json", "paper_table": "table.json"}.get(step.kind)
    if not name:
        return
    content = json.loads(Path(step.folder, name).read_text())
    if step.kind == "tables":
        content["description"] = step.settings["description"]
    _write(step, {name: json.dumps(content)})


def _write(step: Step, files: dict[str, str]) -> None:
    folder = Path(step.folder)
    path = folder / "receipt.json"
    receipt = json.loads(path.read_text()) if path.exists() else {"spec": json.loads(step.to_json()), "metrics": {}}
    outputs = {name: {"sha256": hashlib.sha256(text.encode()).hexdigest(), "bytes": len(text)} for name, text in files.items()}
    own = {"outputs": outputs, "times": {"started": "2026-11-21T10:00:00+00:00", "seconds": 2}}
    fake_runs.write_json(str(path), {**receipt, **own, "environment": fake_runs.ENVIRONMENT})
    for name, text in files.items():
        (folder / name).write_text(text)
