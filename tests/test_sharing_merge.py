"""Two people's results are merged by git: real git, DVC and Snakemake."""

import json
import shutil

import pytest

from tests.conftest import TINY
from tests.team import LAMBDAS, jobs, new_team, sha256, spoil
from tests.tiny_project import assert_explained

pytestmark = pytest.mark.chains


@pytest.fixture
def author(_finished, tmp_path_factory, tmp_path):
    return new_team(_finished, tmp_path_factory.getbasetemp(), tmp_path / "team")


@pytest.fixture
def bob(author):
    """A teammate who has the same run as the author's newest, but from another machine: the bits of the weights differ."""
    bob = author.clone("bob", "first")
    bob.git("switch", "--quiet", "--create", "bob")
    folder = author.path("gen5", "").rstrip("/")
    shutil.copytree(author.folder / folder, bob.folder / folder)
    model, receipt = bob.folder / folder / "model.safetensors", bob.folder / folder / "receipt.json"
    spoil(model)
    model.with_name("model.safetensors.dvc").unlink()
    told = json.loads(receipt.read_text())
    told["outputs"]["model.safetensors"]["sha256"] = sha256(model)
    told["times"]["seconds"] += 1
    receipt.write_text(json.dumps(told, indent=1) + "\n")
    assert "1 files put under DVC" in bob.share()
    bob.commit("the same run")
    bob.dvc("push", "--quiet")
    return bob


def conflicts(person) -> set[str]:
    return set(person.git("diff", "--name-only", "--diff-filter=U").splitlines())


def test_the_same_run_trained_twice_is_merged_without_training(author, bob):
    model = author.path("gen5")
    folder, mine = model.rpartition("/")[0], (author.folder / model).read_bytes()
    author.git("pull", "--quiet", "--no-rebase", "../bob", "bob", check=False)
    assert conflicts(author) == {f"{folder}/receipt.json", f"{model}.dvc"}
    refused = author.restore(model, check=False)
    assert_explained(refused, f"{folder}/receipt.json has a merge conflict", f"git checkout --ours -- {folder}")
    said = author.share()
    assert f"Damaged, left out: {folder}/receipt.json has a merge conflict" in said and f"git checkout --ours -- {folder}" in said
    author.git("checkout", "--ours", "--", "runs")
    author.commit("merged")
    assert author.planned() == {}
    (author.folder / model).unlink()
    author.restore(model)
    assert (author.folder / model).read_bytes() == mine
    # The other side is as good, if taken for the whole folder: what is here of this one is not mistaken for it.
    author.git("checkout", "FETCH_HEAD", "--", folder)
    author.restore(model)
    assert (author.folder / model).read_bytes() == (bob.folder / model).read_bytes() != mine
    author.git("checkout", "HEAD", "--", f"{folder}/receipt.json")
    done = author.restore(model, check=False)
    assert done.returncode == 2 and "by another run of the same step" in done.stderr
    assert f"git checkout --ours -- {folder}" in done.stderr and not (author.folder / model).exists()


def test_a_conflict_in_a_pointer_is_explained(author, bob):
    model = author.path("gen5")
    author.git("pull", "--quiet", "--no-rebase", "../bob", "bob", check=False)
    author.git("checkout", "--ours", "--", f"{model.rpartition('/')[0]}/receipt.json")
    (author.folder / model).unlink()
    done = author.snakemake(model, check=False)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert f"{model}.dvc is damaged or has a merge conflict" in done.stderr
    assert f"git checkout --ours -- {model.rpartition('/')[0]}" in done.stderr
    assert jobs(done) == {"restore": [model]}


@pytest.mark.team
def test_people_who_train_different_generations_merge_without_conflicts_but_in_the_view(author):
    bob = author.clone("bob", "first")
    bob.git("switch", "--quiet", "--create", "bob")
    sixth = TINY.replace("generations: 5", "generations: 6").replace(LAMBDAS, LAMBDAS.replace("]", ", 0.6]"))
    (bob.folder / "config/experiment/longer.yaml").write_text(sixth)
    ran = jobs(bob.snakemake(experiments="longer"))
    (trained,) = ran["generation"]
    assert "-gen6-" in trained and bob.path_of("longer-line-gen5-seed0") in ran["restore"]
    assert "results/ shows longer, up to date" in bob.share(experiments="longer")
    bob.commit("a sixth generation")
    bob.dvc("push", "--quiet")
    author.git("pull", "--quiet", "--no-rebase", "../bob", "bob", check=False)
    assert conflicts(author) and all(path.startswith("results/") for path in conflicts(author))
    # As it is, with the marks of the conflict, and with one side of it: the next run writes it.
    both = "tiny,longer"
    assert author.planned(experiments=both).keys() == {"report"}
    author.git("checkout", "--ours", "--", "results")
    author.commit("merged")
    assert jobs(author.snakemake(experiments=both)).keys() == {"report"}
    assert author.path("gen5") and author.path_of("longer-line-gen6-seed0") == trained
    assert author.planned(experiments=both) == {}
    page = (author.folder / "results/report.html").read_text()
    cards = [path.read_text() for path in author.folder.glob("runs/generation/*/README.md")]
    assert "<<<<<<<" not in page + "".join(cards)
    assert [card for card in cards if "# longer-line-gen6-seed0\n" in card]
