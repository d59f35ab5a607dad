"""Damaged copies, a remote that is down, a push that was forgotten: real git, DVC and Snakemake."""

import json
import shutil

import pytest

from tests.conftest import TINY
from tests.team import IDENTITY, cached_object, jobs, new_team, remote_object, spoil
from tests.tiny_project import assert_explained

pytestmark = pytest.mark.chains

OF_LAST = "[0.6, 0.6, 0.6, 0.6, 0.2]"


@pytest.fixture
def author(_finished, tmp_path_factory, tmp_path):
    return new_team(_finished, tmp_path_factory.getbasetemp(), tmp_path / "team")


def test_a_damaged_copy_is_refused_and_fetched_again(author):
    model = author.path("gen5")
    spoil(cached_object(author, model))
    (author.folder / model).unlink()
    author.restore(model)
    assert author.is_as_made(model)
    # The cache was mended with it, so that a second fetch needs no remote.
    (author.folder / model).unlink()
    remote = remote_object(author, model)
    remote.rename(remote.with_suffix(".away"))
    author.restore(model)
    assert author.is_as_made(model)
    remote.with_suffix(".away").rename(remote)
    spoil(author.folder / model)
    statistics = author.folder / author.path_of("tiny-line-gen5-seed0-statistics", "receipt.json")
    spec = json.dumps(json.loads(statistics.read_text())["spec"])
    statistics.unlink()
    refused = author.run("gendistill", "statistics", "--spec", spec, check=False)
    assert_explained(refused, f"{model} is corrupt", f"rm {model}")
    assert not statistics.exists()
    author.restore(model)
    assert author.is_as_made(model)
    for copy in (remote, cached_object(author, model), author.folder / model):
        spoil(copy)
    assert_explained(author.restore(model, check=False), "damaged", "dvc push")
    assert not (author.folder / model).exists()


def test_a_forgotten_push_is_told_and_nothing_is_trained_instead(author):
    remote_object(author, author.path("gen4")).unlink()
    bob = author.clone("bob")
    bob.set_lambdas(OF_LAST)
    before = bob.steps()
    (target,) = bob.planned()["generation"]
    done = bob.snakemake(target, check=False)
    model = bob.path("gen4")
    who = f"{IDENTITY['NAME']} <{IDENTITY['EMAIL']}>"
    assert_explained(
        done, f"{model} is shared through DVC, and could not be fetched", who, "dvc push", "Nothing was trained instead"
    )
    assert jobs(done).keys() == {"restore"}
    assert bob.steps() == before
    # As the message says: whoever made it pushes it.
    author.dvc("push", "--quiet")
    bob.restore(model)
    assert bob.is_as_made(model)


def test_a_failure_on_this_machine_is_not_taken_for_one_of_the_remote(author):
    bob = author.clone("bob")
    model = bob.path("gen4")
    (bob.folder / ".dvc/cache").write_text("no folder")
    said = bob.restore(model, check=False)
    assert_explained(
        said, f"{model} is shared through DVC, and could not be fetched", "DVC could not bring it here", "Not a directory"
    )
    assert "dvc push" not in said.stderr and "emove it there" not in said.stderr
    # A first push that was forgotten: the folder is there, and empty.
    (bob.folder / ".dvc/cache").unlink()
    shutil.move(author.folder.parent / "remote/files", author.folder.parent / "away")
    assert_explained(bob.restore(model, check=False), "The remote does not have it", "dvc push")


def test_without_a_remote_or_with_a_wrong_one_the_message_says_so(author):
    bob = author.clone("bob")
    model, remote = bob.path("gen4"), author.folder.parent / "remote"
    remote.rename(remote.with_name("elsewhere"))
    assert_explained(bob.restore(model, check=False), "The remote store", "cannot be reached", "Nothing was trained instead")
    bob.dvc("remote", "remove", "store")
    assert_explained(bob.restore(model, check=False), "No remote is set", "dvc remote add -d NAME URL")
    bob.dvc("remote", "add", "--quiet", "--default", "store", "s3://bucket/gendistill")
    assert_explained(bob.restore(model, check=False), "DVC lacks the plugin of the remote", "dvc-s3")


@pytest.mark.team
def test_without_the_remote_local_work_goes_on(author):
    remote = author.folder.parent / "remote"
    bob = author.clone("bob")
    remote.rename(remote.with_name("elsewhere"))
    bob.set_lambdas(OF_LAST)
    local = TINY.replace("path: tiny.npz", "path: other.npz").replace("generations: 5", "generations: 0")
    (bob.folder / "config/experiment/local.yaml").write_text(local.replace("objective:\n  lambda: [0.6, 0.6, 0.6, 0.6, 0.6]\n", ""))
    before = bob.steps()
    done = bob.snakemake(experiments="tiny,local", check=False)
    assert_explained(done, "The remote store", "cannot be reached", "Nothing was trained instead")
    assert "generation" not in jobs(done)
    new = bob.steps() - before
    assert sorted(name.partition("/")[0] for name in new) == ["dataset", "figure", "patriarch", "statistics", "tables"]
    said = bob.share(experiments="local")
    assert "3 files put under DVC" in said and "results/ was brought up to date: it shows local." in said
    assert bob.path_of("local-line-gen0-seed0") in bob.pointers()
