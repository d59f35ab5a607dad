"""Which runs may be averaged: one for each seed, of one recipe."""

import json

import pandas as pd
import pytest

from gendistill.errors import UserError
from gendistill.results.alike import check_alike, check_seeds
from gendistill.results.tables import check_rows


@pytest.fixture
def chain(tmp_path, monkeypatch):
    """Two seeds of a data set, a patriarch, its soft labels and a student; a function that changes a receipt."""
    monkeypatch.chdir(tmp_path)

    def write(name, settings, inputs=None, code="c0"):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True, exist_ok=True)
        spec = {"kind": name.split("/")[0], "settings": settings, "inputs": inputs or {}, "code": {"module": code}}
        (folder / "receipt.json").write_text(json.dumps({"spec": spec, "metrics": {}}))

    write("dataset/d", {"name": "digits"})
    for seed in (0, 1):
        own = {"dataset": "dataset/d"}
        write(f"patriarch/p{seed}", {"recipe": {"name": "r", "epochs": 20}, "seed": seed, "member": 0}, own)
        write(f"softlabels/s{seed}", {"seed": seed, "epochs": 20}, {"teacher": f"patriarch/p{seed}", **own})
        write(f"generation/g{seed}", {"recipe": {"epochs": 20}, "seed": seed}, {"softlabels": f"softlabels/s{seed}", **own})
        write(f"ensemble/e{seed}", {"average": "logits"}, {"members": [f"patriarch/p{seed}", f"generation/g{seed}"]})
    return write


def steps(name):
    return {seed: [f"{name}{seed}"] for seed in (0, 1)}


def test_runs_that_differ_by_their_seed_are_alike(chain):
    for name in ("patriarch/p", "generation/g", "ensemble/e"):
        check_alike(steps(name), "a cell")


def test_another_setting_is_named(chain):
    chain("patriarch/p1", {"recipe": {"name": "other", "epochs": 30}, "seed": 1, "member": 0}, {"dataset": "dataset/d"})
    message = "a cell: seeds 0 and 1 are of different recipes: recipe.epochs = 20 in runs/patriarch/p0 and 30 in runs/patriarch/p1"
    with pytest.raises(UserError, match=message):
        check_alike(steps("patriarch/p"), "a cell")


def test_another_recipe_of_the_teacher_is_found_through_all_that_was_read(chain):
    chain("patriarch/p1", {"recipe": {"epochs": 30}, "seed": 1, "member": 0}, {"dataset": "dataset/d"})
    for name in ("generation/g", "ensemble/e"):
        with pytest.raises(UserError, match=r"recipe\.epochs = 20 in runs/patriarch/p0 and 30 in runs/patriarch/p1"):
            check_alike(steps(name), "a cell")


def test_other_code_is_another_recipe(chain):
    chain(
        "generation/g1", {"recipe": {"epochs": 20}, "seed": 1}, {"softlabels": "softlabels/s1", "dataset": "dataset/d"}, code="c1"
    )
    with pytest.raises(UserError, match="code of module = c0 in runs/generation/g0 and c1"):
        check_alike(steps("generation/g"), "a cell")


def test_a_name_and_a_member_change_nothing(chain):
    chain("patriarch/p1", {"recipe": {"name": "a copy", "epochs": 20}, "seed": 1, "member": 3}, {"dataset": "dataset/d"})
    check_alike(steps("patriarch/p"), "a cell")


def test_seeds_with_more_runs_than_others(chain):
    with pytest.raises(UserError, match="seed 0 has 2 runs, seed 1 has 1"):
        check_alike({0: ["patriarch/p0", "generation/g0"], 1: ["patriarch/p1"]}, "a cell")


def test_a_missing_and_a_duplicated_seed_are_named():
    check_seeds("row", [1, 0], [0, 1])
    with pytest.raises(UserError, match="row: seed 2 is missing, which other rows have"):
        check_seeds("row", [0, 1], [0, 1, 2])
    with pytest.raises(UserError, match="row: seed 1 is there 2 times"):
        check_seeds("row", [0, 1, 1], [0, 1])


def rows_of(*runs):
    columns = ["lineage", "generation", "seed", "member", "step"]
    return pd.DataFrame([dict(zip(columns, run, strict=True)) for run in runs])


def test_rows_of_a_table(chain):
    students = [("ban", 1, seed, None, f"generation/g{seed}") for seed in (0, 1)]
    scratch = [("scratch", 0, seed, member, f"patriarch/p{seed}") for seed in (0, 1) for member in (0, 1)]
    check_rows("error", rows_of(*students, *scratch))
    with pytest.raises(UserError, match="error of ban/1: seed 1 is missing"):
        check_rows("error", rows_of(students[0], *scratch))
    with pytest.raises(UserError, match="error of ban/1: seed 1 is there 2 times"):
        check_rows("error", rows_of(*students, students[1], *scratch))
    with pytest.raises(UserError, match="error of scratch/0: seed 1 is missing"):
        check_rows("error", rows_of(*students, *scratch[:3]))


def test_a_row_of_two_recipes_is_an_error(chain):
    students = [("ban", 1, seed, None, f"generation/g{seed}") for seed in (0, 1)]
    chain("generation/g1", {"recipe": {"epochs": 30}, "seed": 1}, {"softlabels": "softlabels/s1", "dataset": "dataset/d"})
    with pytest.raises(UserError, match=r"error of ban/1: seeds 0 and 1 are of different recipes: recipe\.epochs = 20"):
        check_rows("error", rows_of(*students))
