"""What `share` puts under DVC, and what it leaves out: real git, DVC and Snakemake."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.team import new_team, spoil

pytestmark = pytest.mark.chains


@pytest.fixture
def author(_finished, tmp_path_factory, tmp_path):
    return new_team(_finished, tmp_path_factory.getbasetemp(), tmp_path / "team")


def test_after_share_each_large_file_is_in_dvc_each_small_one_in_git_and_nothing_is_to_be_done(author):
    assert author.planned() == {}
    labels = {path for path in author.large_files() if path.endswith(".npy")}
    assert labels and author.pointers() == author.large_files() - labels
    tracked = set(author.git("ls-files").splitlines())
    assert not [path for path in tracked if path.endswith((".safetensors", ".npy", ".lock", "tiny.npz"))]
    names = ("receipt.json", "history.csv", "tables.json", "calibration.csv", "figure.svg", "README.md")
    small = {str(p.relative_to(author.folder)) for name in names for p in author.folder.glob(f"runs/*/*/{name}")}
    assert {path.rpartition("/")[2] for path in small} == set(names) and small <= tracked
    assert {f"{path}.dvc" for path in author.pointers()} <= tracked
    # DVC would write one into each folder for files that git does not ignore yet.
    assert not list(author.folder.glob("runs/**/.gitignore"))
    assert f"0 files put under DVC, {len(author.pointers())} were there before" in author.snakemake("share").stdout
    assert author.git("status", "--porcelain") == ""


def test_share_leaves_out_what_is_interrupted_running_or_damaged(author):
    shared = author.pointers()
    interrupted, running, damaged, cut, finished = (author.path(f"gen{k}") for k in (1, 2, 3, 4, 5))
    for path in (interrupted, running, damaged, cut, finished):
        (author.folder / f"{path}.dvc").unlink()
    (author.folder / interrupted).with_name("receipt.json").unlink()
    (author.folder / interrupted).with_name("resume.pt").write_bytes(b"half")
    spoil(author.folder / damaged)
    (author.folder / cut).write_bytes((author.folder / cut).read_bytes()[:-10])
    author.set_lambdas("[0.6, 0.6, 0.6, 0.6, 0.2]")
    shown = {path: path.read_bytes() for path in (author.folder / "results").rglob("*") if path.is_file()}
    with open((author.folder / running).with_name(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = author.share()
    assert author.pointers() == shared - {interrupted, running, damaged, cut}
    assert "1 files put under DVC" in said
    lines = {line for line in said.splitlines() if "left out" in line}
    assert len(lines) == 4
    for path in (interrupted, running):
        assert f"Not finished, left out: {path.rpartition('/')[0]}" in lines
    for path in (damaged, cut):
        assert [line for line in lines if line.startswith(f"Damaged, left out: {path} ") and f"rm {path}" in line]
    # Results that are not there are not shown.
    assert "steps of tiny are not finished" in said
    assert shown == {path: path.read_bytes() for path in shown}
    assert not list(author.folder.glob("runs/**/resume.pt.dvc"))


def test_soft_labels_are_shared_and_fetched_only_if_asked_for(author):
    before = author.pointers()
    assert "5 files put under DVC" in author.share("runtime.share_soft_labels=true")
    labels = author.pointers() - before
    assert labels == {author.path(f"softlabels{k}", "softlabels.npy") for k in range(5)}
    author.commit("soft labels")
    author.dvc("push", "--quiet")
    bob = author.clone("bob")
    own, model = bob.path("softlabels3", "softlabels.npy"), bob.path("gen3")
    bob.set_lambdas("[0.6, 0.6, 0.6, 0.4, 0.1]")
    fetched = bob.planned()
    assert own in fetched["restore"] and model not in fetched["restore"]
    # Only those of the new generation 4.
    assert len(fetched["softlabels"]) == 1 and own not in fetched["softlabels"]
    computed = bob.planned(overrides=("runtime.restore_soft_labels=false",))
    assert model in computed["restore"] and not labels & set(computed["restore"])
    assert len(computed["softlabels"]) == 2 and own in computed["softlabels"]
    assert computed["generation"] == fetched["generation"]
    bob.restore(own)
    assert (bob.folder / own).read_bytes() == (author.folder / own).read_bytes()


def test_results_go_on_to_show_what_they_show_unless_something_else_is_named(author):
    overrides = ("network.width=4", "recipe.pad=1")
    author.run("gendistill", "report", "--config", "experiments=[tiny]", f"overrides={json.dumps(overrides)}")
    before = (author.folder / "results/view.json").read_text()
    for said in (author.run("gendistill", "share").stdout, author.run("snakemake", "--cores", "1", "share").stdout):
        assert "results/ shows tiny, up to date" in said
        assert (author.folder / "results/view.json").read_text() == before
    assert json.loads(before)["overrides"] == list(overrides)
    assert "steps of tiny are not finished" in author.run("gendistill", "share", "--config", "seeds=2", "experiments=[tiny]").stdout


def test_what_cannot_be_read_is_named_and_the_rest_is_shared(author):
    conflicted, stale, other = (author.folder / author.path(f"gen{k}") for k in (1, 2, 3))
    receipt = conflicted.with_name("receipt.json")
    receipt.write_text("<<<<<<< HEAD\n" + receipt.read_text())
    for path, content in ((stale, ""), (other, "outs:\n- md5: 1\n  size: 5\n")):
        path.with_name(f"{path.name}.dvc").write_text(content)
    said = author.share()
    assert f"Damaged, left out: {receipt.relative_to(author.folder)} has a merge conflict" in said
    assert "2 files put under DVC" in said
    for path in (stale, other):
        name = str(path.relative_to(author.folder))
        path.unlink()
        author.restore(name)
        assert author.is_as_made(name)


@pytest.mark.team
def test_share_goes_on_after_it_was_killed(author):
    for path in author.pointers():
        (author.folder / f"{path}.dvc").unlink()
    shutil.rmtree(author.folder / ".dvc/cache")
    command = [sys.executable, "-m", "gendistill", "share", "--config", "experiments=[tiny]"]
    for seconds in (0.8, 1.0, 1.2, 1.4):
        process = subprocess.Popen(command, cwd=author.folder, env=author.env(), start_new_session=True, stdout=subprocess.DEVNULL)
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    # DVC reads its own list of who works where; a kill can leave it empty.
    (author.folder / ".dvc/tmp/rwlock").unlink(missing_ok=True)
    author.share()
    labels = {path for path in author.large_files() if path.endswith(".npy")}
    assert author.pointers() == author.large_files() - labels
    author.dvc("push", "--quiet")
    for path in author.pointers():
        assert author.is_as_made(path)


@pytest.mark.team
def test_soft_labels_that_are_computed_anew_are_the_same(author):
    author.share("runtime.share_soft_labels=true")
    author.commit("soft labels")
    author.dvc("push", "--quiet")
    bob = author.clone("bob")
    own = bob.path("softlabels3", "softlabels.npy")
    bob.snakemake(own, overrides=("runtime.restore_soft_labels=false",))
    assert bob.large_files() == {own, bob.path("gen3"), bob.path("dataset-npz", "dataset.safetensors")}
    assert (bob.folder / own).read_bytes() == (author.folder / own).read_bytes()
    # The same bits: nothing to commit, and still shared.
    assert own in bob.pointers() and bob.is_as_made(own)
    assert bob.git("status", "--porcelain", "runs") == ""
