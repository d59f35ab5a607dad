"""What an ancestry says of today's code and settings: the same id, or which module or setting differs."""

import contextlib
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

import gendistill
from gendistill.plan import build_plan, code
from gendistill.provenance.ancestry import provenance
from tests.fake_runs import edit_receipt, write_json, write_runs

EXPERIMENTS = ["demo"]
OVERRIDES = ("seeds=[0,1]", "scratch=2", "transfer=[]")
RUN = "demo-ban-gen2-seed0"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    with contextlib.chdir(folder):
        return folder, write_runs(EXPERIMENTS, OVERRIDES).roles


@pytest.fixture
def roles(made, tmp_path, monkeypatch):
    """The runs by their roles; the current directory is a copy of the folder in which they are."""
    shutil.copytree(made[0], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return made[1]


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A copy of the package's source, which is taken for today's code."""
    folder = tmp_path / "src"
    shutil.copytree(Path(gendistill.__file__).parent, folder / "gendistill", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(code.REFACTORINGS, tmp_path / "refactorings.yaml")
    monkeypatch.setattr(code, "SOURCE", folder)
    monkeypatch.setattr(code, "REFACTORINGS", tmp_path / "refactorings.yaml")
    code.forget()
    yield folder / "gendistill"
    code.forget()


def edit(path):
    path.write_text(path.read_text() + "\nADDED = 1\n")


def today(name):
    """What is said of today, as one line."""
    code.forget()
    text = provenance(name)
    return " ".join(text[text.index("\nToday\n") + 7 :].split())


def planned(role, overrides=OVERRIDES):
    code.forget()
    return build_plan(EXPERIMENTS, overrides).roles[role]


@pytest.mark.parametrize(
    ("edited", "steps"),
    [
        ("objectives/ban.py", "[4], [6]"),
        ("objectives/cross_entropy.py", "[2] patriarch, seed 0"),
        ("training/schedule.py", "[2], [4], [6]"),
        ("softlabels/dump.py", "[3], [5]"),
        ("data/embedded.py", "[1] data set mnist5k"),
        ("errors.py", "[1]-[6]"),
    ],
)
def test_an_edited_module_is_named_with_the_steps_that_run_it(roles, source, edited, steps):
    edit(source / edited)
    said = today(RUN)
    module = "gendistill." + edited.removesuffix(".py").replace("/", ".")
    assert said.startswith("code Today's code does not give the same id:")
    # What a plan of today has in this role.
    assert planned(RUN) != roles[RUN]
    assert f"[6] would be runs/{planned(RUN)}" in said
    assert said.count("was edited") == 1
    assert re.search(rf"{re.escape(module)} was edited \([0-9a-f]{{10}} then, [0-9a-f]{{10}} today\): {re.escape(steps)}", said)
    assert "was added" not in said and "not imported" not in said
    assert "Today's settings are the same." in said


def test_an_edit_of_what_no_ancestor_runs_changes_nothing(roles, source):
    for path in ("objectives/tolerant.py", "evaluation/transfer.py", "results/report.py"):
        edit(source / path)
    assert today(RUN) == "code Today's code gives the same id. settings Today's settings are the same."
    assert "Today's code does not give the same id" in today("demo-tolerant-gen1-seed0")


def test_steps_that_only_read_something_else_are_told_apart(roles, source):
    edit(source / "objectives/cross_entropy.py")
    assert "Changed by what they read only: [3]-[6]." in today(RUN)


def test_modules_that_came_and_went(roles, source):
    loop = source / "training/loop.py"
    text = loop.read_text()
    assert "from gendistill.training.schedule import" in text
    (source / "training/schedule.py").rename(source / "training/rates.py")
    loop.write_text(text.replace("from gendistill.training.schedule import", "from gendistill.training.rates import"))
    said = today(RUN)
    assert re.search(r"gendistill\.training\.loop was edited \(", said)
    assert re.search(r"gendistill\.training\.schedule is not imported any more \([0-9a-f]{10}\): \[2\], \[4\], \[6\]", said)
    assert re.search(r"gendistill\.training\.rates was added \([0-9a-f]{10}\): \[2\], \[4\], \[6\]", said)


def test_a_method_that_is_gone(roles, source):
    (source / "objectives/ban.py").unlink()
    edit(source / "training/schedule.py")
    said = today(RUN)
    assert "gendistill.objectives.ban is no longer there: [4], [6]" in said
    assert "gendistill.objectives.ban is not imported" not in said
    assert "Not compared with today's: " in said


def test_an_older_receipt_tells_only_the_module_that_it_names(roles, source):
    for role in (RUN, "demo-ban-gen1-seed0"):
        edit_receipt(f"runs/{roles[role]}", modules=None)
    edit(source / "training/schedule.py")
    said = today(RUN)
    assert re.search(
        r"gendistill\.training\.run, or what it imports, was edited \(\w{10} then, \w{10} today\)[^:]*: \[4\], \[6\]", said
    )
    assert re.search(r"gendistill\.training\.schedule was edited \([^)]*\): \[2\] patriarch", said)
    assert "Older receipts do not tell which of the imports was edited: [4], [6]." in said


def test_a_refactoring_keeps_the_id(roles, source, tmp_path):
    ban = "gendistill.objectives.ban"
    old = code.code_hash(ban)
    edit(source / "objectives/ban.py")
    code.forget()
    known = yaml.safe_load((tmp_path / "refactorings.yaml").read_text())
    (tmp_path / "refactorings.yaml").write_text(yaml.safe_dump({**known, ban: {code.code_hash(ban): {"same_as": old}}}))
    assert "Today's code gives the same id." in today(RUN)


def test_a_cell_whose_runs_would_be_others(roles, source):
    edit(source / "objectives/ban.py")
    said = today("demo_error:ban/1")
    assert "Today's code does not give the same ids:" in said
    for seed in (0, 1):
        assert f"would be runs/{planned(f'demo-ban-gen1-seed{seed}')}" in said
    assert "Today's code gives the same ids." in today("demo_error:tolerant/1")


def test_the_ids_of_tables_follow_those_of_the_runs_in_their_cells(roles, source):
    edit(source / "objectives/ban.py")
    said = today("demo-tables")
    assert f"would be runs/{planned('demo-tables')}" in said
    assert "Today's settings are the same." in said


def test_names_and_settings_that_came_later_with_a_neutral_value_change_nothing(roles, source):
    folder = f"runs/{roles['demo-ban-gen0-seed0']}"
    spec = json.loads(Path(folder, "receipt.json").read_text())["spec"]
    settings = {**spec["settings"], "network": {**spec["settings"]["network"], "name": "renamed"}}
    assert settings.pop("member") == 0
    edit_receipt(folder, spec={**spec, "settings": settings})
    assert "Today's code gives the same id." in today(RUN)
    edit(source / "objectives/cross_entropy.py")
    assert "Today's settings are the same." in today(RUN)


def test_a_setting_that_was_changed_is_named_with_its_step(roles):
    overrides = [*OVERRIDES, "lineages.ban.objective.temperature=[1,2,1]"]
    write_json("results/view.json", {"experiments": EXPERIMENTS, "overrides": overrides, "files": {}})
    said = today("demo-ban-gen3-seed0")
    assert "Today's code gives the same id." in said
    assert "settings Today's settings ask for another run, because" in said
    assert "objective.temperature: 1 then, 2 today: [6] generation 2, seed 0 (demo-ban-gen2-seed0)" in said
    assert said.count(" then, ") == 1
    # What comes before it stays.
    assert "Today's settings are the same." in today("demo-ban-gen1-seed0")


def test_another_objective_is_told_with_all_its_settings(roles):
    write_json("results/view.json", {"experiments": EXPERIMENTS, "overrides": [*OVERRIDES, "objective=tolerant"], "files": {}})
    said = today("demo-ban-gen1-seed0")
    assert re.search(r"objective: ban \(temperature 1[^)]*\) then, tolerant \(lambda 0\.6, [^)]*\) today: \[4\] generation 1", said)


def test_a_role_that_no_experiment_has_now(roles):
    overrides = ["seeds=[0]", *OVERRIDES[1:]]
    write_json("results/view.json", {"experiments": EXPERIMENTS, "overrides": overrides, "files": {}})
    assert "no experiment asks for demo-ban-gen0-seed1 now: [2] patriarch" in today("demo-ban-gen1-seed1")
    assert "Today's settings are the same." in today("demo-ban-gen1-seed0")


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (None, "Not compared with today's: results/view.json is not here"),
        ({"experiments": ["gone"], "overrides": [], "files": {}}, "Not compared with today's: experiment = gone"),
        ({"experiments": EXPERIMENTS, "overrides": ["generations=x"], "files": {}}, "Not compared with today's: generations = 'x'"),
    ],
)
def test_settings_that_cannot_be_compared(roles, view, said):
    Path("results/view.json").unlink()
    if view:
        write_json("results/view.json", view)
    assert said in today(RUN)
    assert "Today's code gives the same id." in today(RUN)


def test_a_run_without_a_role_is_not_compared(roles):
    write_json("results/index.json", {})
    overrides = [*OVERRIDES, "recipe.epochs=3"]
    write_json("results/view.json", {"experiments": EXPERIMENTS, "overrides": overrides, "files": {}})
    said = today(roles[RUN])
    assert "Not compared with today's: [6] generation 2, seed 0 has no role in the results." in said
