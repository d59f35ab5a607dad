"""The repository itself: environments in step, a fresh picture, a clean workflow, DVC that understands the results."""

import itertools
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.dataset_artifacts import dataset_artifacts
from tests.rulegraph import PLACE, draw

# Where conda-forge has another name.
CONDA_NAMES = {"torch": "pytorch", "snakemake": "snakemake-minimal", "matplotlib": "matplotlib-base"}


def pins(lines):
    """The versions, without what they are for: `ruff==0.17.5; platform_machine != 'aarch64'`."""
    lines = [line.partition(";")[0].lower() for line in lines if not line.startswith("#")]
    return dict(line.split("==") for line in lines if "==" in line)


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_environment_yml_has_the_versions_of_pyproject(project):
    wanted = {CONDA_NAMES.get(name, name): version for name, version in pins(project["dependencies"]).items()}
    given = [
        line for line in yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"] if not line.startswith("python")
    ]
    assert dict(line.split("=") for line in given) == wanted


def test_lock_has_the_versions_of_pyproject_and_torch_first(project):
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    lock = pins(lines)
    wanted = pins(project["dependencies"] + project["optional-dependencies"]["dev"])
    assert wanted.items() <= lock.items()
    assert next(iter(lock)) == "torch"
    assert all("==" in line for line in lines if not line.startswith("#"))


def test_what_runs_here_is_what_the_lock_says():
    from importlib.metadata import version

    lock = pins((ROOT / "requirements.lock").read_text().splitlines())
    for name in ("torch", "snakemake", "numpy", "safetensors", "hydra-core"):
        assert version(name).partition("+")[0] == lock[name], name


def test_rulegraph_in_the_readme_is_fresh(checkout):
    def edges(text):
        names = dict(re.findall(r"(id\d+)\[(\w+)\]", text))
        return sorted((names[a], names[b]) for a, b in re.findall(r"(id\d+) --> (id\d+)", text))

    picture = PLACE.search((ROOT / "README.md").read_text())[0]
    assert edges(picture), "no picture"
    assert edges(picture) == edges(draw(checkout.folder, checkout.env())), "make rulegraph"


def test_data_sets_in_dvc_yaml_are_where_the_plan_puts_them():
    assert dataset_artifacts() in (ROOT / "dvc.yaml").read_text(), "make artifacts"


def test_workflow_is_lint_free(checkout):
    done = checkout.run("snakemake", "--lint", check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("linter", "files"),
    [
        ("hadolint", ["workflow/container/Dockerfile"]),
        ("shellcheck", [".ci/run", "workflow/container/*.sh", "profiles/slurm/bin/*", "tests/slurm/*.sh"]),
    ],
)
def test_linters_of_other_languages_find_nothing(linter, files):
    program = shutil.which(linter, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]))
    if program is None and platform.machine() == "aarch64":
        pytest.skip(f"{linter}: no wheel for aarch64 is in requirements.lock, and no other {linter} is installed")
    assert program, f"{linter} is not installed: pip install -r requirements.lock"
    found = [sorted(ROOT.glob(pattern)) for pattern in files]
    assert all(found), found
    done = subprocess.run([program, *itertools.chain(*found)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_log_benchmark_threads_and_resources():
    text = "\n".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    rules = re.split(r"^rule ", text, flags=re.MULTILINE)[1:]
    assert len(rules) == 23
    # These two run on the spot, and only move files.
    for rule in (rule for rule in rules if not rule.startswith(("restore:", "share:"))):
        for part in ("log:", "benchmark:", "threads:", "**resources_of(", "conda:"):
            assert part in rule, (rule.splitlines()[0], part)


def test_standard_layout_of_the_workflow_catalog():
    for path in (
        "workflow/Snakefile",
        "config/README.md",
        "config/config.yaml",
        "README.md",
        "LICENSE",
        ".snakemake-workflow-catalog.yml",
    ):
        assert (ROOT / path).exists(), path


def test_plan_needs_neither_torch_nor_hydra_once_composed(checkout):
    code = (
        "import sys; from gendistill import plan; plan.build_plan(['tiny']); print(*(m in sys.modules for m in ('torch', 'hydra')))"
    )
    outputs = [
        subprocess.run([sys.executable, "-c", code], cwd=checkout.folder, env=checkout.env(), capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert outputs[0].split() == ["False", "True"]
    assert outputs[1].split() == ["False", "False"]


def test_dvc_shows_metrics_and_plots(finished):
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=finished.folder, check=True, capture_output=True)
    shown = finished.run("dvc", "metrics", "show", "--json").stdout
    values = yaml.safe_load(shown)[""]["data"]["results/metrics.json"]["data"]["tiny"]["generations"]
    assert "failed to load" not in finished.run("dvc", "metrics", "show").stderr
    assert values["line-5"].keys() >= {"test_error_pct", "n"}
    finished.run("dvc", "plots", "show", "-o", "plots")
    assert "generation" in (finished.folder / "plots/index.html").read_text()


def test_snakemake_report_carries_the_results(finished):
    finished.snakemake("--report", "report.zip")
    with zipfile.ZipFile(finished.folder / "report.zip") as archive:
        names = {Path(name).name for name in archive.namelist()}
        page = next(archive.read(name).decode() for name in archive.namelist() if name.count("/") == 1 and name.endswith(".html"))
    for file in ("report.html", "tiny_error.csv", "tiny_error.tex", "tiny_ensembles.md", "figure.svg", "figure.pdf", "figure.png"):
        assert file in names
    # Categories, a caption of each kind, and a figure's own title.
    for text in ("Tables", "Figures", "standard deviation over n runs", "t-interval of the mean", "Error by generation"):
        assert text in page
