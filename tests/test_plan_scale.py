"""Planning is linear: what is done once is not done for each experiment, and each experiment costs the same."""

import shutil
import sys

import pytest

from gendistill.plan import build, code, paths, settings, validate
from gendistill.plan.build import build_plan

CONFIG = paths.CONFIG


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A copy of config/ with experiments of the demo's shape, each with another learning rate; nothing is known yet."""
    folder = tmp_path / "config"
    shutil.copytree(CONFIG, folder)
    demo = (folder / "experiment/demo.yaml").read_text()
    for i in range(30):
        (folder / f"experiment/many{i}.yaml").write_text(f"{demo}recipe: {{ learning_rate: {0.01 + i / 1000} }}\n")
    monkeypatch.setattr(settings, "CONFIG", folder)
    monkeypatch.setattr(validate, "_ALLOWED", set())
    monkeypatch.chdir(tmp_path)
    return folder


def many(count):
    return build_plan([f"many{i}" for i in range(count)])


@pytest.fixture
def composed(monkeypatch):
    """The names of the experiments that Hydra is asked to compose; it is not, to save time."""
    names = []
    demo = settings.compose_experiment("demo")

    def compose(name, overrides):
        names.append(name)
        return {**demo, "description": name}

    monkeypatch.setattr(settings, "_compose", compose)
    return names


@pytest.fixture
def calls(monkeypatch):
    """How often a function was called since it was last asked."""

    def count(owner, name):
        made, function = [], getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *given: (made.append(given), function(*given))[1])

        def since():
            found = list(made)
            made.clear()
            return found

        return since

    return count


def test_each_experiment_is_composed_once(config, composed):
    compose = settings.compose_experiments
    assert [each["description"] for each in compose(["many3", "many1"])] == ["many3", "many1"] == composed
    list(compose([f"many{i}" for i in range(5)]))
    assert composed == ["many3", "many1", "many0", "many2", "many4"]
    list(compose(["many3"], ("seeds=[7]",)))
    assert composed[5:] == ["many3"]


@pytest.mark.parametrize(
    ("file", "text", "anew"),
    [
        ("experiment/new.yaml", "# @package _global_\n", []),
        ("experiment/many1.yaml", "seeds: [5]\n", ["many1"]),
        ("recipe/cifar_tt.yaml", "# another\n", []),
        ("recipe/digits.yaml", "# another\n", ["many0", "many1"]),
        ("config.yaml", "# another\n", ["many0", "many1"]),
        ("network/a file.yaml", "name: it may be named in words that are not looked for\n", ["many0", "many1"]),
    ],
)
def test_what_an_experiment_names_or_may_name_is_composed_anew(config, composed, file, text, anew):
    list(settings.compose_experiments(["many0", "many1"]))
    composed.clear()
    with open(config / file, "a") as stream:
        stream.write(text)
    list(settings.compose_experiments(["many0", "many1"]))
    assert composed == anew


@pytest.mark.parametrize(
    ("own", "overrides"),
    [
        ("defaults: [demo]\n", ()),
        ("defaults: [between]\n", ()),
        ("defaults: ['${chosen}']\n", ()),
        ("", ("+experiment@other=demo",)),
    ],
)
def test_what_an_experiment_builds_on_is_part_of_it(config, composed, own, overrides):
    (config / "experiment/own.yaml").write_text(f"# @package _global_\n{own}")
    (config / "experiment/between.yaml").write_text("# @package _global_\ndefaults: [demo]\n")
    list(settings.compose_experiments(["own", "pydoc"], overrides))
    composed.clear()
    with open(config / "experiment/demo.yaml", "a") as stream:
        stream.write("seeds: [8]\n")
    list(settings.compose_experiments(["own"], overrides))
    assert composed == ["own"]


def test_an_experiment_that_builds_on_another_follows_it(config):
    """With Hydra itself."""
    (config / "experiment/own.yaml").write_text("# @package _global_\ndefaults: [many0]\n")
    assert settings.compose_experiment("own")["seeds"] == [0, 1, 2]
    text = (config / "experiment/many0.yaml").read_text()
    (config / "experiment/many0.yaml").write_text(text.replace("seeds: [0, 1, 2]", "seeds: [4]"))
    assert settings.compose_experiment("own")["seeds"] == [4]


def test_files_are_read_once_and_equal_settings_checked_once(config, calls):
    many(30)
    read = calls(paths.Path, "read_bytes")
    checked, hashed = calls(validate, "_check"), calls(code, "_closure")
    listed = calls(paths.Path, "glob")
    code.forget()
    counts = []
    for count in (10, 20):
        validate._ALLOWED.clear()
        code.forget()
        many(count)
        counts.append([len(since()) for since in (read, checked, hashed, listed)])
    (reads, checks, hashes, lists), (more_reads, more_checks, more_hashes, more_lists) = counts
    assert more_reads == reads > 100
    # Only the recipe, in which experiments differ.
    assert more_checks - checks == 10
    assert more_hashes == hashes > 5
    assert more_lists == lists


def test_each_experiment_takes_as_many_calls_as_the_one_before(config):
    many(30)
    totals = []
    for count in (10, 20, 30):
        validate._ALLOWED.clear()
        made = 0

        def count_call(frame, event, argument):
            nonlocal made
            made += event in ("call", "c_call")

        sys.setprofile(count_call)
        try:
            many(count)
        finally:
            sys.setprofile(None)
        totals.append(made)
    first, second = totals[1] - totals[0], totals[2] - totals[1]
    assert abs(second - first) < first / 200, totals


def test_settings_that_are_not_allowed_stay_so(config):
    text = (config / "experiment/many0.yaml").read_text()
    (config / "experiment/many0.yaml").write_text(text.replace("learning_rate: 0.01", "learning_rate: -1"))
    many1 = build_plan(["many1"])
    for _ in range(2):
        with pytest.raises(build.SettingError, match=r"recipe.learning_rate = -1: not allowed"):
            build_plan(["many0"])
    assert build_plan(["many1"]).steps == many1.steps
