"""Finished runs without any training: the receipts that the steps of a plan would leave, with numbers that a hand can check."""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

from gendistill.plan import build_plan
from gendistill.plan.code import module_hashes
from gendistill.plan.plan import Plan
from gendistill.plan.step import OUTPUTS, Step
from gendistill.results.paper_table import make_paper_table
from gendistill.results.tables import TABLES, by_run, summarise

ENVIRONMENT = {
    "python": "3.11.7",
    "platform": "Linux-6.1",
    "torch": "2.13.0",
    "processor": "Some CPU",
    "threads": 1,
    "git_commit": "0123456789abcdef",
    "git_changed": False,
}


def sha256_of(step: str, file: str) -> str:
    """The hash that the fake file of a step has."""
    return hashlib.sha256(f"{step}/{file}".encode()).hexdigest()


def write_runs(experiments: list[str], overrides: tuple[str, ...] = ()) -> Plan:
    """In the current directory, `runs/` and `results/` of experiments and published tables."""
    plan = build_plan(experiments, overrides)
    for step in plan.steps.values():
        write_step(step)
    write_json("results/index.json", plan.index)
    write_json("results/view.json", {"id": "", "experiments": experiments, "overrides": list(overrides), "files": {}})
    return plan


def write_step(step: Step) -> None:
    folder = Path(step.folder)
    folder.mkdir(parents=True, exist_ok=True)
    receipt = {
        "spec": json.loads(step.to_json()),
        "metrics": metrics_of(step),
        "outputs": {file: {"sha256": sha256_of(step.name, file), "bytes": 2000} for file in OUTPUTS[step.kind]},
        "inputs": {parent: {f: sha256_of(parent, f) for f in OUTPUTS[parent.partition("/")[0]]} for parent in step.parents},
        "modules": {module: own for root in step.code for module, own in module_hashes(root).items()},
        "times": {"started": "2026-11-21T10:00:00+00:00", "seconds": 1.5},
        "environment": ENVIRONMENT,
    }
    write_json(f"{step.folder}/receipt.json", receipt)
    if step.kind == "tables":
        cells = step.settings["cells"]
        metrics = {cell["step"]: json.loads(Path("runs", cell["step"], "receipt.json").read_text())["metrics"] for cell in cells}
        runs = {name: by_run(name, cells, metrics) for name in TABLES}
        runs = {name: frame for name, frame in runs.items() if len(frame)}
        summaries = {name: summarise(name, frame) for name, frame in runs.items()}
        content = {
            "experiment": step.settings["experiment"],
            "runs": {name: json.loads(frame.to_json(orient="records")) for name, frame in runs.items()},
            "summaries": {name: json.loads(frame.to_json(orient="records")) for name, frame in summaries.items()},
        }
        write_json(f"{step.folder}/tables.json", content)
    if step.kind == "paper_table":
        inputs = {"cells": [Path("runs", name) for name in step.inputs["cells"]]}
        make_paper_table(step.settings, inputs, folder, SimpleNamespace(log=print))


def metrics_of(step: Step) -> dict:
    """Error grows by 1 a generation and by 0.25 a seed."""
    settings = step.settings
    if step.kind == "statistics":
        return dict.fromkeys((*(f"confidence_top{k}_pct" for k in range(1, 5)), "train_accuracy_pct", "test_accuracy_pct"), 50)
    error = 4 + settings.get("generation", 0) + 0.25 * settings.get("seed", 0)
    names = ("test_error_pct", "best_epoch_test_error_pct", "train_error_pct", "mean_member_test_error_pct")
    return {**dict.fromkeys(names, error), "parameters": 75002}


def write_json(path: str, content: object) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(content))


def edit_receipt(folder: str, **changes: object) -> None:
    """Set keys of a receipt; None removes one."""
    path = Path(folder, "receipt.json")
    receipt = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in receipt.items() if value is not None}))
