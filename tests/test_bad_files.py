"""Inputs that are missing or damaged, as a user meets them: a message says what to do, and nothing is lost."""

import re
import shlex
from pathlib import Path

import pytest

from tests.tiny_project import (
    assert_explained,
    assert_nothing_lost,
    copy_of_finished,
    files_of,
    folder_of,
    report,
    run,
    run_step,
    snakemake,
    train,
)


@pytest.fixture
def project(tmp_path_factory):
    with copy_of_finished(tmp_path_factory) as folder:
        yield folder


def test_train_says_how_to_make_what_is_missing(project):
    """The printed command works as it is."""
    done = train(project, "recipe.pad=2", 'description="it\'s mine"', "run.generation=1")
    assert_explained(done, "not there yet", "snakemake --config")
    command = next(line for line in done.stderr.splitlines() if line.strip().startswith("snakemake"))
    name, *arguments = shlex.split(command)
    made = run(project, "-m", name, "--cores", "1", "-n", *arguments)
    assert made.returncode == 0, made.stdout + made.stderr
    assert re.search(r"^softlabels +1$", made.stdout + made.stderr, re.MULTILINE)


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


INPUTS = [
    ("dataset", "dataset.safetensors", "patriarch"),
    ("patriarch", "model.safetensors", "softlabels"),
    ("softlabels", "softlabels.npy", "generation"),
    ("patriarch", "logits.safetensors", "ensemble"),
]


@pytest.mark.parametrize(
    ("maker", "name", "reader", "damage"),
    [*((*i, flip_byte) for i in INPUTS), (*INPUTS[3], truncate)],
)
def test_a_damaged_input_is_not_used(project, maker, name, reader, damage):
    path = folder_of(project, maker) / name
    damage(path)
    (folder_of(project, reader) / "receipt.json").unlink()
    before = files_of(project)
    shown = str(path.relative_to(project))
    assert_explained(run_step(project, reader), f"{shown} is corrupt", f"rm {shown}", "snakemake")
    assert files_of(project) == before


@pytest.mark.parametrize("name", ["logits.safetensors", "receipt.json"])
def test_a_missing_input_is_named(project, name):
    path = folder_of(project, "patriarch") / name
    path.unlink()
    (folder_of(project, "ensemble") / "receipt.json").unlink()
    before = files_of(project)
    shown = str(path.relative_to(project))
    assert_explained(run_step(project, "ensemble"), f"{shown} is missing", f"snakemake {shown}")
    assert files_of(project) == before


@pytest.mark.parametrize("content", ["", "[]"])
def test_a_damaged_receipt_is_explained(project, content):
    receipt = folder_of(project, "patriarch") / "receipt.json"
    receipt.write_text(content)
    (folder_of(project, "ensemble") / "receipt.json").unlink()
    shown = str(receipt.relative_to(project))
    assert_explained(run_step(project, "ensemble"), shown, f"rm {shown}")


def test_a_damaged_receipt_stops_the_tables(project):
    receipt = folder_of(project, "ensemble") / "receipt.json"
    truncate(receipt)
    (folder_of(project, "tables") / "receipt.json").unlink()
    shown = str(receipt.relative_to(project))
    assert_explained(run_step(project, "tables"), shown, f"rm {shown}")


@pytest.mark.parametrize(
    ("name", "damage"),
    [("tables/tables.json", truncate), ("tables/tables.json", Path.unlink), ("figure/figure.png", flip_byte)],
)
def test_damaged_tables_and_figures_are_not_reported(project, damage, name):
    kind, _, file = name.partition("/")
    path = folder_of(project, kind) / file
    damage(path)
    before = {name: content for name, content in files_of(project).items() if ".view" not in name}
    assert_explained(report(project), str(path.relative_to(project)))
    assert_nothing_lost(project, before)


def test_the_remedy_for_a_damaged_file_works(project):
    """Damage the soft labels, have snakemake refuse them, do what it says, and go on."""
    path = folder_of(project, "softlabels") / "softlabels.npy"
    good = path.read_bytes()
    flip_byte(path)
    student = str((folder_of(project, "generation") / "receipt.json").relative_to(project))
    (project / student).unlink()
    arguments = ("--config", "experiments=[tiny]", "--", student)
    done = snakemake(project, *arguments)
    assert_explained(done, "is corrupt")
    remedy = re.search(r"made anew: rm (\S+)", done.stdout + done.stderr)
    (project / remedy[1]).unlink()
    again = snakemake(project, *arguments)
    assert again.returncode == 0, again.stdout + again.stderr
    assert path.read_bytes() == good
    assert (project / student).exists()


def test_train_does_not_call_a_step_finished_whose_files_are_gone(project):
    (folder_of(project, "patriarch") / "model.safetensors").unlink()
    done = train(project, "run.generation=0")
    assert done.returncode != 0 or (folder_of(project, "patriarch") / "model.safetensors").exists(), done.stdout + done.stderr


def test_only_soft_labels_can_be_checked(project):
    shown = str(folder_of(project, "dataset").relative_to(project))
    assert_explained(run(project, "-m", "gendistill", "check-labels", shown), shown)


def test_damaged_soft_labels_fail_their_check(project):
    folder = folder_of(project, "softlabels")
    flip_byte(folder / "softlabels.npy")
    done = run(project, "-m", "gendistill", "check-labels", str(folder.relative_to(project)))
    assert_explained(done, "softlabels.npy is corrupt", "rm ")
