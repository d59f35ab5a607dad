"""Published tables at scale smoke, for real: every kind of step of each table, from data to the numbers beside the published ones.

`make test-chains` runs a sample that has every kind of step, `make smoke-papers` all tables.
"""

import json
import math

import pandas as pd
import pytest
import yaml

from gendistill.plan import build_plan
from gendistill.plan.settings import paper_names
from gendistill.plan.step import FUNCTIONS, NETWORKS
from gendistill.softlabels.extent import first_epochs
from tests.conftest import ROOT, Checkout, copy_project

# A small table; seeds=1.
SAMPLE = ["ban_icml2018_table6"]
# Of larger ones, the first step of a kind that it has not, and what that needs.
ONE_STEP = {"efficacy_table3": "agreement", "efficacy_table9": "fine_tune"}


def one_step_each():
    """The plan of the larger tables, and the steps to run of it."""
    plan = build_plan(list(ONE_STEP), ("scale=smoke", "seeds=[0]"))
    return plan, [plan.of_kind(kind)[0] for kind in ONE_STEP.values()]


def run_papers(folder, papers: list[str], *options: str) -> Checkout:
    project = copy_project(folder)
    config = ("--config", f"paper=[{','.join(papers)}]", "scale=smoke", "seeds=1")
    done = project.run("snakemake", "--cores", "2", "--keep-going", *options, *config, check=False, timeout=5400)
    (folder / "log.txt").write_text(done.stdout + done.stderr)
    return project


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Checkout:
    return run_papers(tmp_path_factory.mktemp("sample") / "project", SAMPLE)


@pytest.fixture(scope="module")
def every(tmp_path_factory) -> Checkout:
    return run_papers(tmp_path_factory.mktemp("papers") / "project", ["all"])


def check_table(project: Checkout, name: str) -> None:
    """All printed rows that are run have a finite value of ours, from one seed; those that are not say why."""
    path = project.folder / "results" / "tables" / f"{name}.csv"
    assert path.is_file(), (project.folder / "log.txt").read_text()[-5000:]
    rows = pd.read_csv(path)
    run = rows["n"] > 0
    assert run.any()
    assert (rows.loc[run, "n"] == 1).all()
    assert rows.loc[run, "ours"].map(math.isfinite).all()
    printed = rows["published"].notna()
    assert rows.loc[printed & ~run, "not_run"].notna().all()
    percent = rows["metric"].str.endswith("_pct") & run
    assert rows.loc[percent, "ours"].between(0, 100).all()


def test_the_sample_has_every_kind_of_step():
    kinds = {step.kind for step in build_plan(SAMPLE, ("scale=smoke", "seeds=[0]")).steps.values()}
    plan, steps = one_step_each()
    kinds |= {plan.steps[name].kind for name in plan.behind(step.name for step in steps)}
    # The rest belongs to every other test of a chain, to test_joint_chain, and class_structure to the papers' own.
    rest = {"member", "early_exit", "softlabels", "tables", "class_structure", "statistics", "ensemble", "transfer", "figure"}
    assert set(FUNCTIONS) - kinds == rest


@pytest.mark.chains
@pytest.mark.parametrize("name", SAMPLE)
def test_a_sample_of_the_papers_tables_runs(sample, name):
    check_table(sample, name)


@pytest.mark.chains
def test_steps_that_only_larger_tables_have_run(sample):
    _, steps = one_step_each()
    config = ("--config", f"paper=[{','.join(ONE_STEP)}]", "scale=smoke", "seeds=1")
    sample.run("snakemake", "--cores", "2", *(step.receipt for step in steps), *config)
    for step in steps:
        metrics = json.loads((sample.folder / step.receipt).read_text())["metrics"]
        assert metrics and all(math.isfinite(value) for value in metrics.values() if isinstance(value, float))


@pytest.mark.chains
def test_the_report_shows_published_tables(sample):
    page = (sample.folder / "results" / "report.html").read_text()
    for name in SAMPLE:
        assert f'id="{name}-table"' in page
        title = yaml.safe_load((ROOT / "config" / "paper" / f"{name}.yaml").read_text())["description"]
        assert title in page
    assert "the numbers mean nothing" in page


def test_the_same_tables_again_have_nothing_to_do(sample):
    done = sample.run("snakemake", "--cores", "2", "--config", f"paper=[{','.join(SAMPLE)}]", "scale=smoke", "seeds=1")
    assert "Nothing to be done" in done.stdout + done.stderr


@pytest.mark.papers
@pytest.mark.parametrize("name", paper_names())
def test_every_published_table_runs(every, name):
    check_table(every, name)


@pytest.mark.papers
def test_every_method_learns(tmp_path):
    """In five epochs on 200 digits, not one on 50: the loss of each training falls from its first epoch to its last."""
    project = copy_project(tmp_path / "project")
    project.edit("config/scale/smoke.yaml", "epochs_divided_by: 100", "epochs_divided_by: 3")
    project.edit("config/scale/smoke.yaml", "train_per_class: 5,", "train_per_class: 20,")
    config = ("--config", "paper=[what_to_match]", "scale=smoke", "seeds=1")
    project.run("snakemake", "--cores", "2", *config, timeout=1800)
    trained = project.steps(*NETWORKS)
    assert len(trained) == 28
    for name in trained:
        folder = project.folder / "runs" / name
        settings = json.loads((folder / "receipt.json").read_text())["spec"]["settings"]
        losses = pd.read_csv(folder / "history.csv")["train_loss"].iloc[first_epochs(settings["objective"], 5) :]
        assert len(losses) == 5 and losses.iloc[-1] < losses.iloc[0], name
