"""Lineages: the settings and the teacher of each generation."""

import pytest

from gendistill.errors import SettingError
from gendistill.plan import lineage
from tests.demo import demo_settings


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Caches lie below the current directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def settings():
    return demo_settings()


def networks_of(settings):
    return lineage.resolve(settings, "file")["line"]


def test_a_lineage_is_a_patriarch_and_its_generations(settings):
    networks = networks_of(settings)
    assert [network.objective["name"] for network in networks] == ["cross_entropy", "ban", "ban", "ban"]
    assert [network.teacher for network in networks] == [-1, 0, 1, 2]


def test_a_setting_may_have_a_value_per_generation(settings):
    settings["objective"]["temperature"] = [1.0, 2.0, 3.0]
    assert [network.objective.get("temperature") for network in networks_of(settings)] == [None, 1.0, 2.0, 3.0]


def test_a_lineage_may_have_an_objective_per_generation(settings):
    settings["lineages"]["line"] = {"objective": ["ban", {"name": "tolerant", "lambda": 0.2}, {"temperature": 4}]}
    objectives = [network.objective for network in networks_of(settings)]
    assert [o["name"] for o in objectives] == ["cross_entropy", "ban", "tolerant", "ban"]
    assert [o.get("lambda") for o in objectives] == [None, None, 0.2, None]
    assert [o.get("temperature") for o in objectives] == [None, 1, 1, 4]


def test_a_recipe_per_generation_needs_one_for_the_patriarch(settings):
    settings["recipe"]["epochs"] = [4, 5, 6]
    with pytest.raises(SettingError, match=r"patriarch\.recipe\.epochs"):
        networks_of(settings)
    settings["patriarch"]["recipe"] = {"epochs": 3}
    assert [network.recipe["epochs"] for network in networks_of(settings)] == [3, 4, 5, 6]


def test_a_lineage_may_have_a_network_per_generation(settings):
    settings["lineages"]["line"] = {"network": ["resnet14", "resnet20", "resnet32"], "patriarch": {"network": "resnet8"}}
    assert [network.network["depth"] for network in networks_of(settings)] == [8, 14, 20, 32]


def test_milestones_are_a_list_already(settings):
    settings["recipe"] |= {"schedule": "steps", "milestones": [0.5, 0.6, 0.7]}
    assert [network.recipe["milestones"] for network in networks_of(settings)] == [[0.5, 0.6, 0.7]] * 4
    settings["recipe"]["milestones"] = [[0.1], [0.2], []]
    settings["patriarch"]["recipe"] = {"milestones": [0.5]}
    assert [network.recipe["milestones"] for network in networks_of(settings)] == [[0.5], [0.1], [0.2], []]


def test_what_a_lineage_says_comes_before_what_the_experiment_says(settings):
    settings["patriarch"] = {"objective": "label_smoothing", "network": "resnet14"}
    settings["lineages"]["line"] = {"generations": 1, "recipe": {"epochs": 2}, "patriarch": {"objective": "tsd"}}
    patriarch, student = networks_of(settings)
    assert (patriarch.objective["name"], patriarch.network["depth"], patriarch.recipe["epochs"]) == ("tsd", 14, 2)
    assert (student.objective["name"], student.network["depth"], student.recipe["epochs"]) == ("ban", 8, 2)
    assert lineage.baseline(settings, "file").objective["name"] == "label_smoothing"


@pytest.mark.parametrize(
    ("teacher", "numbers"),
    [
        ("previous", [0, 1, 2]),
        ("patriarch", [0, 0, 0]),
        (0, [0, 0, 0]),
        (["previous", 0, 1], [0, 0, 1]),
        (["patriarch", 1, "previous"], [0, 1, 2]),
    ],
)
def test_teachers(settings, teacher, numbers):
    settings["teacher"] = teacher
    assert [network.teacher for network in networks_of(settings)] == [-1, *numbers]
    settings["teacher"] = "previous"
    settings["lineages"]["line"] = {"teacher": teacher}
    assert [network.teacher for network in networks_of(settings)] == [-1, *numbers]


@pytest.mark.parametrize("teacher", [1, [1, 1, 1], [0, 0, 3], ["previous", 2, 0], ["previous", "previous"]])
def test_a_teacher_that_is_no_earlier_generation_is_refused(settings, teacher):
    settings["teacher"] = teacher
    with pytest.raises(SettingError, match="teacher"):
        networks_of(settings)


@pytest.mark.parametrize(("group", "name"), [("objective", "cross_entropy"), ("patriarch", "ban")])
def test_an_objective_of_the_wrong_side_is_refused(settings, group, name):
    settings["lineages"]["line"] = {"objective": name} if group == "objective" else {"patriarch": {"objective": name}}
    with pytest.raises(SettingError, match=f"objective = {name}: it trains a"):
        networks_of(settings)


def test_without_lineages_there_is_one_named_as_the_objective(settings):
    settings["lineages"] = {}
    assert list(lineage.resolve(settings, "file")) == ["ban"]
    settings["scratch"] = 2
    assert list(lineage.resolve(settings, "file")) == []


def test_the_name_scratch_is_kept(settings):
    settings["lineages"] = {"scratch": {}}
    with pytest.raises(SettingError, match=r"lineages\.scratch"):
        lineage.resolve(settings, "file")
