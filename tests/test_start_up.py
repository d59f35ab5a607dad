"""What starts without PyTorch, whose import takes longest: planning, looking on, and steps that compute with no network."""

import json
import os
import subprocess
import sys

import pytest

from gendistill.plan.step import FUNCTIONS
from tests.conftest import copy_project
from tests.fake_runs import write_runs
from tests.tiny_project import copy_of_finished

HEAVY = {"torch", "torchvision", "sklearn", "scipy"}
# Runs one command of ours in its process; says which modules it has imported.
COMMAND = """
import sys
from gendistill.__main__ import main
code = main(sys.argv[1:])
print("IMPORTED", *{module.partition(".")[0] for module in sys.modules})
sys.exit(code)
"""
SNAKEMAKE = """
import sys
from snakemake.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code
print("IMPORTED", *{module.partition(".")[0] for module in sys.modules})
"""
# Steps that read text, tables and numbers only.
LIGHT = ("dataset", "text", "ensemble", "paper_table", "tables")


def imported(folder, program, *arguments):
    """The top-level modules that a program has imported at its end."""
    env = {**os.environ, "PYTHONPATH": str(folder / "src")}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return set(next(line for line in done.stdout.splitlines() if line.startswith("IMPORTED")).split()[1:])


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    with copy_of_finished(tmp_path_factory) as folder:
        yield folder


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A copy of the project in which nothing was run."""
    return copy_project(tmp_path_factory.mktemp("start") / "project").folder


def run_again(project, kind):
    """The modules that a finished step imports when it is done anew."""
    spec = json.loads((project / "specs.json").read_text())[kind]
    (project / "runs" / kind / spec["id"] / "receipt.json").unlink()
    return imported(project, COMMAND, kind, "--spec", json.dumps(spec))


@pytest.mark.parametrize("kind", ["dataset", "tables"])
def test_steps_that_compute_with_no_network_import_no_torch(project, kind):
    assert not run_again(project, kind) & HEAVY


def test_a_step_that_computes_with_a_network_does(project):
    assert "torch" in run_again(project, "patriarch")


def test_steps_for_text_and_published_tables_import_no_torch(fresh, monkeypatch):
    monkeypatch.chdir(fresh)
    plan = write_runs(["ban_icml2018_table4", "pydoc", "demo"], ("scale=smoke", "seeds=[0]"))
    for kind in ("text", "paper_table"):
        step = plan.of_kind(kind)[0]
        (fresh / step.receipt).unlink()
        assert not imported(fresh, COMMAND, kind, "--spec", step.to_json()) & HEAVY


@pytest.mark.parametrize("kind", LIGHT)
def test_the_modules_of_these_steps_import_no_torch(fresh, kind):
    program = (
        f"import sys, importlib; importlib.import_module({FUNCTIONS[kind].partition(':')[0]!r}); print('IMPORTED', *sys.modules)"
    )
    assert not imported(fresh, program) & HEAVY


@pytest.mark.parametrize("command", [["status", "--config", "experiments=[demo]"], ["code-hashes"]])
def test_commands_that_look_on_import_no_torch(fresh, command):
    assert not imported(fresh, COMMAND, *command) & (HEAVY | {"pandas", "matplotlib"})


@pytest.mark.chains
def test_papers_whose_networks_were_counted_are_listed_without_torch(fresh):
    counted = "from gendistill.cost import counts\ncounts._count = lambda *_: counts.Counts(*[1] * 10)\n"
    assert not imported(fresh, COMMAND.replace("code =", f"{counted}code ="), "papers") & (HEAVY | {"pandas", "matplotlib"})


def test_a_first_plan_imports_hydra_and_a_later_one_does_not(fresh):
    program = "import sys; from gendistill.plan import build_plan; build_plan(['cifar100_short']); print('IMPORTED', *sys.modules)"
    first, later = imported(fresh, program), imported(fresh, program)
    assert {"hydra", "omegaconf"} <= first
    assert not (first | later) & HEAVY
    assert not later & {"hydra", "omegaconf", "numpy", "pandas"}


def test_the_snakefile_imports_no_torch(fresh):
    assert not imported(fresh, SNAKEMAKE, "-n", "-q", "all", "--config", "experiments=[demo]") & {"torch", "torchvision"}
