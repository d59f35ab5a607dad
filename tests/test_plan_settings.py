"""Settings of a plan: values per generation, changes of a group, overrides, and what is impossible."""

import pytest

from gendistill.errors import SettingError
from gendistill.plan import build_plan
from gendistill.plan.settings import compose_experiment, group_label, load_group, pick, resolve_group
from gendistill.plan.validate import check_group


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Caches lie below the current directory."""
    monkeypatch.chdir(tmp_path)


def test_pick_takes_the_value_of_a_generation():
    assert [pick([10, 20, 30], k, 3, "x", "f") for k in (1, 2, 3)] == [10, 20, 30]
    assert [pick(value, 0, 3, "x", "f") for value in (7, "name", None, {"a": [1]})] == [7, "name", None, {"a": [1]}]


@pytest.mark.parametrize(("values", "generations"), [([1, 2], 3), ([1, 2, 3, 4], 3), ([], 1)])
def test_a_list_of_another_length_is_refused(values, generations):
    with pytest.raises(
        SettingError, match=rf"what\.it = .*each of the {generations} generations, this one has {len(values)}.*in file"
    ):
        pick(values, 1, generations, "what.it", "file")


def test_a_list_has_no_value_for_the_patriarch():
    with pytest.raises(SettingError, match=r"Set patriarch\.recipe\.epochs in file"):
        pick([1, 2], 0, 2, "recipe.epochs", "file")


def test_a_change_of_a_group():
    base = load_group("objective", "tolerant")
    assert resolve_group("objective", base, None, "file") == base
    assert resolve_group("objective", base, "ban", "file") == load_group("objective", "ban")
    assert resolve_group("objective", base, {"lambda": 0.1}, "file") == {**base, "lambda": 0.1}
    assert resolve_group("objective", base, {"name": "ban", "temperature": 3}, "file") == {
        **load_group("objective", "ban"),
        "temperature": 3,
    }
    with pytest.raises(SettingError, match=r"no such objective\. Allowed: .*, ban, ban_label"):
        resolve_group("objective", base, "nothing", "file")


def test_a_label_names_what_differs():
    assert group_label("network", load_group("network", "resnet8")) == "resnet8"
    assert group_label("network", {**load_group("network", "resnet8"), "width": 4, "depth": 14}) == "resnet8-depth14-width4"


@pytest.mark.parametrize(
    ("group", "name", "change", "named"),
    [
        ("network", "resnet8", {"depht": 14}, r"network\.depht = 14: unknown setting"),
        ("network", "resnet8", {"width": 0}, r"network\.width = 0"),
        ("network", "resnet8", {"shortcut": "C"}, r"network\.shortcut = 'C'"),
        ("network", "resnet8", {"_target_": "os.system"}, r"network\._target_ = os\.system"),
        ("objective", "tolerant", {"lambda": 1.5}, r"objective\.lambda = 1\.5"),
        ("objective", "tolerant", {"lambda_weighs": "both"}, r"objective\.lambda_weighs = 'both'"),
        ("objective", "ban", {"temperature": 0}, r"objective\.temperature = 0"),
        ("objective", "ban", {"trains": "patriarch"}, r"objective\.trains = patriarch"),
        ("objective", "tsd", {"u": 1.1}, r"objective\.u = 1\.1"),
        ("recipe", "digits", {"epochs": 1.5}, r"recipe\.epochs = 1\.5"),
        ("recipe", "digits", {"learning_rate": "high"}, r"recipe\.learning_rate = 'high'"),
        ("recipe", "digits", {"milestones": [0.5, 1.0]}, r"recipe\.milestones\.1 = 1\.0"),
        ("recipe", "digits", {"flip": 1}, r"recipe\.flip = 1"),
    ],
)
def test_impossible_settings_are_named(group, name, change, named):
    settings = load_group(group, name)
    check_group(group, settings, "file")
    with pytest.raises(SettingError, match=named):
        check_group(group, {**settings, **change}, "file")


def test_overrides_are_composed():
    assert compose_experiment("demo", ("objective.temperature=2", "seeds=[4]"))["seeds"] == [4]
    assert compose_experiment("demo", ("objective.temperature=2",))["objective"]["temperature"] == 2
    assert compose_experiment("demo")["objective"]["temperature"] == 1
    for override in ("nothing.here=1", "objective.temprature=2"):
        with pytest.raises(SettingError, match=override.partition("=")[0].partition(".")[0]):
            build_plan(["demo"], (override,))
