"""A teammate who clones the repository rebuilds, and fetches, only what a change needs: real git, DVC and Snakemake."""

import pytest

from tests.team import CHANGED, LAMBDAS, generations_of, jobs, new_team

pytestmark = pytest.mark.chains

OF_THIRD = "[0.6, 0.6, 0.3, 0.6, 0.1]"


@pytest.fixture
def author(_finished, tmp_path_factory, tmp_path):
    return new_team(_finished, tmp_path_factory.getbasetemp(), tmp_path / "team")


@pytest.fixture
def bob(author):
    """A teammate who has pulled nothing, and has not the user's own images."""
    return author.clone("bob")


def test_after_pull_nothing_is_to_be_done(bob):
    bob.dvc("pull", "--quiet")
    assert bob.large_files() == bob.pointers()
    assert bob.planned() == {}


def test_without_pull_nothing_is_to_be_done_and_a_target_fetches_itself_only(bob):
    assert bob.planned() == {}
    model = bob.path("gen5")
    assert jobs(bob.snakemake(model)) == {"restore": [model]}
    assert bob.large_files() == {model}
    assert bob.is_as_made(model)
    assert bob.git("status", "--porcelain") == ""


def test_lambda_of_generation_3_fetches_what_generations_3_to_5_and_their_dependents_read(bob):
    bob.set_lambdas(OF_THIRD)
    data, teacher = bob.path("dataset-npz", "dataset.safetensors"), bob.path("gen2")
    plan = bob.planned()
    assert generations_of(plan["generation"]) == [3, 4, 5]
    # Members of ensembles that are not new; nobody reads their weights.
    assert plan["restore"] == sorted([data, teacher, *(bob.path(f"gen{k}", "logits.safetensors") for k in (0, 1, 2))])
    assert generations_of(plan["softlabels"]) == [2, 3, 4]
    assert generations_of(plan["statistics"]) == [3, 4, 5]
    counts = {rule: len(outputs) for rule, outputs in plan.items()}
    made = {"softlabels": 3, "generation": 3, "statistics": 3, "ensemble": 6, "figure": 1, "tables": 1, "report": 1}
    assert counts == {"restore": 5, **made}
    last = next(path for path in plan["generation"] if "-gen5-" in path)
    plan = bob.planned(last)
    assert plan.keys() == {"restore", "softlabels", "generation"}
    assert plan["restore"] == sorted([data, teacher])
    assert generations_of(plan["generation"]) == [3, 4, 5]


def test_networks_that_are_here_are_not_trained_again_because_their_data_are_fetched(bob):
    bob.dvc("pull", "--quiet", "-R", "runs/patriarch", "runs/generation")
    bob.set_lambdas(OF_THIRD)
    plan = bob.planned()
    assert plan["restore"] == [bob.path("dataset-npz", "dataset.safetensors")]
    assert generations_of(plan["generation"]) == [3, 4, 5] and "patriarch" not in plan
    first, last = bob.path("gen1"), next(path for path in plan["generation"] if "-gen5-" in path)
    assert generations_of(bob.planned(first, last)["generation"]) == [3, 4, 5]


def test_swapped_values_are_trained_and_values_set_back_are_not(bob):
    # The first commit's settings; all of its results are in the repository still.
    bob.set_lambdas(LAMBDAS)
    assert bob.planned().keys() == {"report"}
    bob.edit("config/experiment/tiny.yaml", LAMBDAS, "0.5\n  temperature: 0.6")
    one = bob.planned()["generation"]
    bob.edit("config/experiment/tiny.yaml", "0.5\n  temperature: 0.6", "0.6\n  temperature: 0.5")
    other = bob.planned()["generation"]
    assert generations_of(one) == generations_of(other) == [1, 2, 3, 4, 5]
    assert not set(one) & set(other)


def test_transfer_fetches_the_one_network_that_it_reads_if_it_is_not_pulled(bob):
    changes = ("transfer=[other]",)
    plan = bob.planned(overrides=changes)
    assert generations_of(plan["transfer"]) == [1, 2, 3, 4, 5] and "generation" not in plan
    *_, fourth, last = sorted((path for path in plan["transfer"] if "-gen" in path), key=lambda path: generations_of([path]))
    (data,) = (path for path in plan["restore"] if path.startswith("runs/dataset/other-"))
    ran = jobs(bob.snakemake(last, overrides=changes))
    assert ran == {"restore": sorted([data, bob.path("gen5")]), "transfer": [last]}
    assert bob.large_files() == {data, bob.path("gen5")}
    assert (bob.folder / last).exists()
    bob.dvc("pull", "--quiet", f"{bob.path('gen4')}.dvc")
    assert bob.planned(fourth, overrides=changes) == {"transfer": [fourth]}


def test_a_link_to_a_cache_that_is_gone_is_no_file(bob):
    teacher = bob.path("gen4")
    for path in (teacher, bob.path("gen4", "logits.safetensors")):
        (bob.folder / path).symlink_to(bob.folder.parent / "no/cache")
    bob.set_lambdas("[0.6, 0.6, 0.6, 0.6, 0.2]")
    plan = bob.planned()
    assert generations_of(plan["generation"]) == [5] and "patriarch" not in plan
    assert teacher in plan["restore"]
    (target,) = plan["generation"]
    bob.restore(teacher)
    assert bob.is_as_made(teacher)
    assert teacher not in bob.planned(target).get("restore", [])


def test_what_is_forced_is_made_and_not_fetched(bob):
    assert bob.planned("-R", "statistics").keys() == {"restore", "statistics"}
    forced = bob.planned("-R", "generation")
    assert generations_of(forced["generation"]) == [1, 2, 3, 4, 5] and "patriarch" not in forced
    everything = bob.planned("-F")
    assert everything["patriarch"] and everything["dataset"] and "restore" not in everything
    assert bob.run("snakemake", "-nF", "--cores", "1", "--config", "experiments=[tiny]").stdout.count("rule generation:") == 5
    bob.dvc("pull", "--quiet", f"{bob.path('gen3')}.dvc", f"{bob.path('gen3', 'logits.safetensors')}.dvc")
    # The dataset and the soft labels that it learns from are not here.
    assert bob.planned("-f", bob.path("gen3")).keys() == {"restore", "softlabels", "generation"}


@pytest.mark.team
def test_a_change_of_generation_3_is_trained_shared_and_set_back(author, bob):
    metrics = (bob.folder / "results/metrics.json").read_text()
    before = bob.steps()
    bob.set_lambdas(OF_THIRD)
    old = {bob.path("dataset-npz", "dataset.safetensors"), bob.path("gen2")}
    old |= {bob.path(f"gen{k}", "logits.safetensors") for k in (0, 1, 2)}
    # The view changes with the run: it names the old networks until then.
    bob.snakemake()
    new = bob.steps() - before
    assert generations_of([name for name in new if name.startswith("generation/")]) == [3, 4, 5]
    kinds = sorted(name.partition("/")[0] for name in new)
    assert kinds == ["ensemble"] * 6 + ["figure"] + ["generation"] * 3 + ["softlabels"] * 2 + ["statistics"] * 3 + ["tables"]
    fetched = {path for path in bob.large_files() if path.removeprefix("runs/").rpartition("/")[0] not in new}
    assert {path for path in fetched if not path.endswith(".npy")} == old
    bob.share()
    bob.commit("lambda of generation 3")
    bob.dvc("push", "--quiet")
    author.git("pull", "--quiet", "../bob", "main")
    assert author.planned() == {}
    cem = author.clone("cem")
    assert cem.planned() == {}
    cem.set_lambdas(CHANGED, OF_THIRD)
    assert cem.planned().keys() == {"report"}
    cem.snakemake()
    assert cem.large_files() == set()
    assert (cem.folder / "results/metrics.json").read_text() == metrics
