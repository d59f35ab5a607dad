"""Old results stay and are never used by mistake; clean-up keeps what is named: real git, DVC and Snakemake."""

import fcntl
import json
import re

import pytest

from tests.team import CHANGED, LAMBDAS, generations_of, new_team, remote_files


@pytest.fixture
def author(_finished, tmp_path_factory, tmp_path):
    return new_team(_finished, tmp_path_factory.getbasetemp(), tmp_path / "team")


def test_an_older_commit_has_its_results_and_they_are_not_used_for_new_settings(author):
    new = author.path("gen5")
    for path in author.large_files():
        (author.folder / path).unlink()
    author.git("checkout", "--quiet", "first")
    author.dvc("checkout", "--quiet")
    old = author.path("gen5")
    assert author.large_files() == author.pointers() and old in author.pointers() and new not in author.pointers()
    assert author.planned() == {}
    # What follows from other settings is not here, so it would be made.
    author.set_lambdas(CHANGED, LAMBDAS)
    plan = author.planned()
    assert plan["generation"] == [new] and "restore" not in plan
    author.git("checkout", "--quiet", "--force", "main")
    assert author.planned() == {}
    assert author.path("gen5") == new


def test_unused_lists_what_nothing_names_and_removes_it_only_when_told_to(author):
    index = json.loads((author.folder / "results/index.json").read_text())
    folders = {f"runs/{name}" for name in author.steps()}
    unused = folders - set(index.values())
    # Of lambda as it was, and of a transfer that no experiment names.
    assert sorted(path.split("/")[1] for path in unused) == [
        "dataset",
        "ensemble",
        "ensemble",
        "generation",
        "statistics",
        "tables",
    ]
    kept = author.run("gendistill", "unused", "--config", "experiments=[tiny]", 'overrides=["transfer=[other]"]').stdout
    said = author.run("gendistill", "unused").stdout
    sizes = {path: size for size, path in re.findall(r"^ *([\d.]+ \w+)  (runs/\S+)$", said, re.M)}
    assert sizes.keys() == unused
    (data,) = (path for path in unused if path.startswith("runs/dataset/"))
    assert set(re.findall(r"runs/\S+", kept)) == unused - {data}
    for path, size in sizes.items():
        total = sum(p.stat().st_size for p in (author.folder / path).iterdir())
        assert size == (f"{total} bytes" if total < 1000 else f"{total / 1000:.0f} kB")
    assert {f"runs/{name}" for name in author.steps()} == folders
    generation = next(path for path in unused if "/generation/" in path)
    with open(author.folder / generation / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = author.run("gendistill", "unused", "--remove").stdout
    assert "5 runs removed" in said and "1 are being worked on" in said
    assert {f"runs/{name}" for name in author.steps()} == folders - unused | {generation}
    assert (author.folder / generation / "model.safetensors").exists()
    assert author.planned() == {}


def test_collected_garbage_is_nothing_that_an_experiment_names(author):
    author.dvc("gc", "--workspace", "--cloud", "--force", "--quiet")
    objects = {path.name: path for path in remote_files(author)}
    assert len(objects) == len(author.pointers())
    author.run("gendistill", "unused", "--remove")
    author.dvc("gc", "--workspace", "--cloud", "--force", "--quiet")
    assert 0 < len(remote_files(author)) < len(objects)
    author.commit("without old results")
    bob = author.clone("bob")
    bob.dvc("pull", "--quiet")
    assert bob.large_files() == bob.pointers()
    index = json.loads((bob.folder / "results/index.json").read_text())
    named = {f"{folder}/{name}" for folder in index.values() for name in bob.receipt(f"{folder}/receipt.json")["outputs"]}
    assert bob.pointers() == {path for path in named if path.endswith(".safetensors")}
    assert bob.planned() == {}
