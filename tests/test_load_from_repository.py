"""`gendistill.load(repo=...)`: a network of somebody else's git and DVC repository, fetched, checked and kept."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from dvc.repo import Repo

import gendistill
from gendistill.errors import UserError
from tests.test_load import NETWORK, ROLE, make_checkout, pixels

FOLDER = f"runs/{NETWORK}"
MODEL = f"{FOLDER}/model.safetensors"


def git(repo, *arguments):
    name = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run(["git", "-C", repo, *name, *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder with a repository that has shared its network through a DVC remote in a folder, and keeps none of it."""
    root = tmp_path_factory.mktemp("shared")
    repo = make_checkout(root / "repo")
    git(repo, "init", "-q", "-b", "main")
    before = Path.cwd()
    os.chdir(repo)
    try:
        with Repo.init() as dvc:
            Path(".dvc/config").write_text(f"[core]\n    remote = store\n['remote \"store\"']\n    url = {root / 'store'}\n")
            dvc.add(MODEL)
        with Repo() as dvc:
            dvc.push()
    finally:
        os.chdir(before)
    git(repo, "add", ".dvc/config", "results", f"{MODEL}.dvc", f"{FOLDER}/receipt.json")
    git(repo, "commit", "-q", "-m", "Share")
    git(repo, "tag", "v1")
    (root / "original").mkdir()
    shutil.copy(repo / FOLDER / "receipt.json", root / "original")
    (repo / MODEL).rename(root / "original/model.safetensors")
    shutil.rmtree(repo / ".dvc/cache")
    return root


@pytest.fixture
def outside(shared, tmp_path, monkeypatch):
    """A copy of all that, seen from an empty folder by a user with an empty cache."""
    shutil.copytree(shared, tmp_path, dirs_exist_ok=True)
    config = tmp_path / "repo/.dvc/config"
    config.write_text(config.read_text().replace(str(shared), str(tmp_path)))
    git(tmp_path / "repo", "commit", "-q", "-a", "-m", "Another place")
    git(tmp_path / "repo", "tag", "-f", "v1")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def kept(outside):
    return sorted(path for path in (outside / "cache").rglob("*") if path.is_file())


def original(outside):
    """The logits of the network that was shared, from its file."""
    return gendistill.load(outside / "original")(pixels())


def edit_receipt(outside, sha256):
    path = outside / "repo" / FOLDER / "receipt.json"
    receipt = json.loads(path.read_text())
    receipt["outputs"]["model.safetensors"]["sha256"] = sha256
    path.write_text(json.dumps(receipt))


@pytest.mark.parametrize("name", [ROLE, NETWORK, FOLDER, NETWORK.partition("/")[2]])
def test_a_folder_is_a_repository(outside, name):
    model = gendistill.load(name, repo=str(outside / "repo"))
    assert torch.equal(model(pixels()), original(outside))
    assert model.receipt["spec"]["id"] == NETWORK.partition("/")[2]
    sha256 = hashlib.sha256((outside / "original/model.safetensors").read_bytes()).hexdigest()
    folder = outside / "cache/gendistill/models" / sha256
    assert kept(outside) == [folder / "model.safetensors", folder / "receipt.json"]
    assert not (outside / "repo" / MODEL).exists() and not list((outside / "empty").iterdir())


def test_a_url_is_one_and_a_revision_is_what_counts(outside):
    git(outside / "repo", "rm", "-q", "-r", "runs", "results")
    git(outside / "repo", "commit", "-q", "-m", "Remove")
    url = f"file://{outside / 'repo'}"
    for repo in (url, outside / "repo"):
        assert torch.equal(gendistill.load(ROLE, repo=repo, rev="v1")(pixels()), original(outside))
        shutil.rmtree(outside / "cache")
        with pytest.raises(UserError, match=r"no such network in .*repo.*There is no results/index.json"):
            gendistill.load(ROLE, repo=repo)


def test_what_was_fetched_is_not_fetched_again_unless_it_is_damaged(outside):
    repo = outside / "repo"
    gendistill.load(ROLE, repo=repo)
    file = kept(outside)[0]
    (outside / "store").rename(outside / "gone")
    gendistill.load(ROLE, repo=repo)
    file.write_bytes(b"damaged")
    with pytest.raises(UserError, match="could not be fetched"):
        gendistill.load(ROLE, repo=repo)
    (outside / "gone").rename(outside / "store")
    gendistill.load(ROLE, repo=repo)
    assert file.read_bytes() == (outside / "original/model.safetensors").read_bytes()


def test_a_remote_that_does_not_give_the_weights_is_named(outside):
    shutil.rmtree(outside / "store")
    with pytest.raises(UserError, match=rf"{MODEL} of .*repo could not be fetched.*dvc push.*remote"):
        gendistill.load(ROLE, repo=outside / "repo")
    assert [path.name for path in kept(outside)] == ["receipt.json"]


def test_weights_that_the_receipt_does_not_name_are_refused_and_not_kept(outside):
    edit_receipt(outside, "0" * 64)
    with pytest.raises(UserError, match="not the one that its receipt names"):
        gendistill.load(ROLE, repo=outside / "repo")
    assert [path.name for path in kept(outside)] == ["receipt.json"]


@pytest.mark.parametrize("sha256", ["../../../../empty/stolen", None, 3])
def test_a_receipt_cannot_choose_where_weights_are_kept(outside, sha256):
    edit_receipt(outside, sha256)
    with pytest.raises(UserError, match=rf"{FOLDER}/receipt.json of .*repo is damaged"):
        gendistill.load(ROLE, repo=outside / "repo")
    assert not kept(outside) and not list((outside / "empty").iterdir())


def test_an_index_that_names_what_is_not_there_is_told(outside):
    (outside / "repo" / FOLDER / "receipt.json").unlink()
    with pytest.raises(UserError, match=rf"repo has no {FOLDER}/receipt.json, though results/index.json there names it"):
        gendistill.load(ROLE, repo=outside / "repo")


@pytest.mark.parametrize(
    ("repo", "rev", "said"),
    [
        ("nowhere", None, "nowhere cannot be read: CloneError"),
        ("file:///nowhere/at/all", None, "file:///nowhere/at/all cannot be read: CloneError"),
        ("{}/repo", "v2", "repo at v2 cannot be read: RevError: unknown Git revision 'v2'"),
    ],
)
def test_a_repository_that_cannot_be_read_is_named(outside, repo, rev, said):
    with pytest.raises(UserError, match=said):
        gendistill.load(ROLE, repo=repo.format(outside), rev=rev)


def test_names_of_the_repository_are_suggested(outside):
    with pytest.raises(UserError, match=f"no such network in .*repo. Did you mean {ROLE}"):
        gendistill.load("demo-ban-gen0-seed7", repo=outside / "repo")


def test_a_step_without_a_network_is_refused(outside):
    with pytest.raises(UserError, match="holds no network: it is the result of the step dataset"):
        gendistill.load("demo-dataset-tiny", repo=outside / "repo")


def test_no_clone_is_left_behind(outside):
    temporary = outside / "temporary"
    temporary.mkdir()
    program = f"import gendistill; gendistill.load({ROLE!r}, repo='file://{outside}/repo')"
    subprocess.run([sys.executable, "-c", program], env={**os.environ, "TMPDIR": str(temporary)}, check=True, capture_output=True)
    assert kept(outside) and not list(temporary.iterdir())


def test_what_dvc_get_brings_can_be_loaded(outside):
    command = [sys.executable, "-m", "dvc", "get", str(outside / "repo"), FOLDER, "-o", "taken"]
    subprocess.run(command, env={**os.environ, "DVC_NO_ANALYTICS": "1"}, check=True, capture_output=True)
    assert torch.equal(gendistill.load("taken")(pixels()), original(outside))
