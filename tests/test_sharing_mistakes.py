"""What a teammate may have got wrong is said in one message: real git, DVC and Snakemake."""

import shutil

import pytest

from tests.team import CHANGED, new_team
from tests.tiny_project import assert_explained

pytestmark = pytest.mark.chains


@pytest.fixture
def author(_finished, tmp_path_factory, tmp_path):
    return new_team(_finished, tmp_path_factory.getbasetemp(), tmp_path / "team")


def test_share_needs_git_and_dvc(author):
    share = ("gendistill", "share", "--config", "experiments=[tiny]")
    (author.folder / ".dvc").rename(author.folder / "dvc-away")
    assert_explained(author.run(*share, check=False), "This is no DVC repository", "dvc init")
    (author.folder / ".git").rename(author.folder / "git-away")
    assert_explained(author.run(*share, check=False), "This is no git repository", "git init")
    assert_explained(author.restore(author.path("gen5", "receipt.json"), check=False), "is not shared")


def test_share_says_what_is_left_to_do(author):
    said = author.share()
    assert "git commit" not in said and "dvc remote add" not in said
    assert said.index("dvc push") < said.index("git push")
    author.dvc("remote", "remove", "store")
    (author.folder / f"{author.path('gen5')}.dvc").unlink()
    said = author.share()
    assert "git add runs results && git commit    # " not in said.partition("Left to do")[0]
    assert "dvc remote add -d NAME URL" in said


def test_a_file_that_nobody_shared_is_made_or_explained(author):
    bob = author.clone("bob")
    labels = bob.path("softlabels4", "softlabels.npy")
    assert_explained(bob.restore(labels, check=False), f"{labels} is not shared")
    # Its teacher and the data are fetched to make it.
    assert bob.planned(labels)["softlabels"] == [labels]


def test_who_lacks_the_users_own_data_can_plan_and_run_what_does_not_read_them(author):
    bob = author.clone("bob")
    assert not (bob.folder / "tiny.npz").exists()
    statistics = bob.path_of("tiny-line-gen5-seed0-statistics", "receipt.json")
    (bob.folder / statistics).unlink()
    bob.snakemake(statistics)
    assert (bob.folder / statistics).exists()
    # Prepared otherwise, they would have to be here.
    bob.edit("config/experiment/tiny.yaml", "path: tiny.npz", "path: tiny.npz\n  image_size: 12")
    (data,) = bob.planned()["dataset"]
    assert_explained(bob.snakemake(data, check=False), "tiny.npz", "there is no such file")
    # Nobody knows which data are meant.
    shutil.rmtree(bob.folder / "runs/dataset")
    assert_explained(bob.snakemake("-n", check=False), "dataset.path = tiny.npz: there is no such file or folder")
    assert CHANGED in (bob.folder / "config/experiment/tiny.yaml").read_text()
