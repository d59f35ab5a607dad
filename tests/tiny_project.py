"""A small finished project, the commands that a user types there, and what they must say when they fail."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.conftest import ROOT, made_once

TINY = """\
# @package _global_
defaults:
  - override /dataset: npz
  - override /recipe: digits
dataset: { path: tiny.npz }
network: { width: 4 }
recipe: { epochs: 1, batch_size: 8, pad: 1, precision: float32 }
generations: 1
"""
# Run all steps of the experiment `tiny` and write results/, in one process; keep the steps' specs.
RUN_ALL = """
import json, sys
from pathlib import Path
from gendistill.__main__ import main
from gendistill.execute import execute
from gendistill.plan import build_plan
from gendistill.results.view import view_id
plan = build_plan(["tiny"])
for step in plan.steps.values():
    assert execute(json.loads(step.to_json())) == 0
assert main(["report", "--view", view_id(plan), "--config", "experiments=[tiny]"]) == 0
Path("specs.json").write_text(json.dumps({step.kind: json.loads(step.to_json()) for step in plan.steps.values()}))
Path("view.txt").write_text(view_id(plan))
"""


def _finish(project: Path) -> None:
    """A copy of the project in which the tiny experiment is finished."""
    for part in ("workflow", "config", "src", "profiles"):
        shutil.copytree(ROOT / part, project / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for part in ("Snakefile", "environment.yml"):
        shutil.copy(ROOT / part, project)
    (project / "config/experiment/tiny.yaml").write_text(TINY)
    write_npz(project / "tiny.npz")
    done = run(project, "-c", RUN_ALL)
    assert done.returncode == 0, done.stderr


@contextmanager
def copy_of_finished(tmp_path_factory):
    """A copy of the finished project, for one test."""
    with tempfile.TemporaryDirectory(prefix="gendistill-") as folder:
        shutil.copytree(made_once("tiny-project", _finish, tmp_path_factory.getbasetemp()), folder, dirs_exist_ok=True)
        yield Path(folder)


def write_npz(path: Path, size: int = 8, train_labels: np.ndarray | None = None) -> None:
    random = np.random.default_rng(0)
    np.savez(
        path,
        train_images=random.integers(0, 256, (24, size, size), dtype=np.uint8),
        train_labels=np.arange(24) % 4 if train_labels is None else train_labels,
        test_images=random.integers(0, 256, (8, size, size), dtype=np.uint8),
        test_labels=np.arange(8) % 4,
    )


def run(project: Path, *arguments: str, **options) -> subprocess.CompletedProcess:
    """Run Python in the project with the project's own code."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "SNAKEMAKE", "HYDRA"))}
    env |= {"PYTHONPATH": str(project / "src"), "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=project, env=env, capture_output=True, text=True, timeout=120, check=False, **options
    )


def run_step(project: Path, kind: str, spec: dict | None = None, **options) -> subprocess.CompletedProcess:
    """Run a step: that of the tiny experiment, if no other is given."""
    spec = spec or json.loads((project / "specs.json").read_text())[kind]
    return run(project, "-m", "gendistill", kind, "--spec", json.dumps(spec), **options)


def train(project: Path, *overrides: str, **options) -> subprocess.CompletedProcess:
    return run(project, "-m", "gendistill.train", "experiment=tiny", *overrides, **options)


def report(project: Path, **options) -> subprocess.CompletedProcess:
    view = (project / "view.txt").read_text()
    return run(project, "-m", "gendistill", "report", "--view", view, "--config", "experiments=[tiny]", **options)


def snakemake(project: Path, *arguments: str) -> subprocess.CompletedProcess:
    return run(project, "-m", "snakemake", "--cores", "1", *arguments)


def folder_of(project: Path, kind: str) -> Path:
    return project / "runs" / kind / json.loads((project / "specs.json").read_text())[kind]["id"]


def files_of(project: Path) -> dict[str, str]:
    """The files of results, each with a hash of its content; a lock is no result."""
    files = [p for part in ("runs", "results") for p in (project / part).rglob("*") if p.is_file() and p.name != ".lock"]
    return {str(p.relative_to(project)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def assert_explained(done: subprocess.CompletedProcess, *expected: str) -> None:
    """The command failed with a message that has all of `expected`, and with no trace of where in the code."""
    output = done.stdout + done.stderr
    end = output[-1500:]
    assert done.returncode not in (0, 75), end
    traces = re.findall(r'^Traceback.*|^ *File ".*gendistill/\w+.*', output, re.MULTILINE)
    assert not traces, end
    missing = [text for text in expected if text not in output]
    assert not missing, end


def assert_nothing_lost(project: Path, before: dict[str, str]) -> None:
    after = files_of(project)
    assert {name: after.get(name) for name in before} == before
    assert not [name for name in after if name.endswith(".tmp")]


def specs_of(project: Path, experiment: str = "tiny", *overrides: str, **options) -> subprocess.CompletedProcess:
    """Plan as the Snakefile does; print the steps as JSON, or a message."""
    code = f"""
import json, sys
from gendistill.errors import UserError
from gendistill.plan import build_plan
try:
    plan = build_plan([{experiment!r}], {overrides!r})
except UserError as error:
    sys.exit(str(error))
print(json.dumps({{step.kind: json.loads(step.to_json()) for step in plan.steps.values()}}))
"""
    return run(project, "-c", code, **options)
