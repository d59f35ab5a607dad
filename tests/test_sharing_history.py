"""Old results stay and are never used by mistake; clean-up keeps what is named: real git, DVC and Snakemake."""

import fcntl
import json
import re
import subprocess
import sys

import pytest

from tests.team import CHANGED, LAMBDAS, new_team, remote_files
from tests.tiny_project import assert_explained

pytestmark = pytest.mark.chains


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
        "figure",
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
    assert "6 runs removed" in said and "1 are being worked on" in said
    assert {f"runs/{name}" for name in author.steps()} == folders - unused | {generation}
    assert (author.folder / generation / "model.safetensors").exists()
    assert author.planned() == {}


def test_unused_touches_nothing_but_runs_of_this_checkout(author):
    foreign = ["runs/detect/train/best.pt", "runs/generation/.DS_Store", "runs/notes.txt", "runs/generation/mine/weights.pt"]
    for name in foreign:
        (author.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (author.folder / name).touch()
    (author.folder / author.path("gen2")).with_name("model.safetensors.dvc").unlink()
    said = author.run("gendistill", "unused").stdout
    assert not [name for name in foreign if name.rpartition("/")[0] + "\n" in said]
    locks = author.folder / ".snakemake/locks"
    locks.mkdir(exist_ok=True)
    (locks / "0.output.lock").touch()
    before = author.steps()
    assert_explained(author.run("gendistill", "unused", "--remove", check=False), "Snakemake is running here", "snakemake --unlock")
    assert author.steps() == before
    (locks / "0.output.lock").unlink()
    removed = author.run("gendistill", "unused", "--remove").stdout
    assert set(re.findall(r"^    (runs/\S+)$", removed, re.M)) == {f"runs/{name}" for name in before - author.steps()} != set()
    assert all((author.folder / name).exists() for name in foreign)


def test_unused_says_what_has_no_second_copy(author):
    author.git("checkout", "--quiet", "first", "--", "config")
    author.run("gendistill", "report", "--config", "experiments=[tiny]")
    other = author.folder / "results/index.json"
    only = json.loads(author.git("show", "main:results/index.json"))["tiny-line-gen5-seed0"]
    assert only not in other.read_text()
    assert f"{only}\n" in author.run("gendistill", "unused").stdout
    (author.folder / only / "model.safetensors.dvc").unlink()
    assert f"{only}    (not shared: the only copy)\n" in author.run("gendistill", "unused").stdout


def test_unused_removes_nothing_if_nobody_knows_which_data_are_meant(author):
    (author.folder / "tiny.npz").unlink()
    assert author.run("gendistill", "unused").returncode == 0
    (receipt,) = (author.folder / author.path("dataset-npz", "receipt.json"),)
    told = json.loads(receipt.read_text())
    told["spec"]["settings"]["content"] = "0123456789abcdef"
    (receipt.parent.parent / "npz-0123456789").mkdir()
    (receipt.parent.parent / "npz-0123456789/receipt.json").write_text(json.dumps(told))
    before = author.steps()
    said = author.run("gendistill", "unused", "--remove", check=False)
    assert_explained(said, "dataset.path = tiny.npz is not here", "2 different contents")
    assert author.steps() == before


@pytest.mark.parametrize("command", ["share", "unused", "report", "restore", "provenance", "diff"])
def test_commands_work_on_the_checkout_whose_code_they_are(author, command):
    arguments = {"restore": ["x"], "provenance": ["x"], "diff": ["x", "y"]}.get(command, [])
    bob = author.clone("bob")
    env = {**author.env(), "PYTHONPATH": str(bob.folder / "src")}
    for folder in (author.folder, bob.folder / "config"):
        done = subprocess.run(
            [sys.executable, "-m", "gendistill", command, *arguments], cwd=folder, env=env, capture_output=True, text=True
        )
        assert_explained(done, f"cd {bob.folder}")


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
