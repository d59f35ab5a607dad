"""The parts of the plan one by one: canonical JSON, code hashes, ids, per-generation settings, and what goes into a data set."""

import copy
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.stats import chisquare

import gendistill
from gendistill.data.images import Images, check_images, draw_per_class, load_images, save_images
from gendistill.errors import SettingError, UserError
from gendistill.plan import Plan, build_plan, code, lineage
from gendistill.plan.build import add_experiment
from gendistill.plan.canonical import canonical_json, digest
from gendistill.plan.fingerprint import fingerprint
from gendistill.plan.settings import compose_experiment, experiment_names, group_label, load_group, pick, resolve_group
from gendistill.plan.step import make_step
from gendistill.plan.validate import check_group


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Caches lie below the current directory."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1.0, "a": (1, 2.5)}, '{"a":[1,2.5],"b":1}'),
        ({"x": {"z": None, "y": True}}, '{"x":{"y":true,"z":null}}'),
        ([-0.0, 0, 1e-4, 1e3, "1"], '[0,0,0.0001,1000,"1"]'),
        ({2: "b", 10: "a"}, '{"10":"a","2":"b"}'),
        ("é", '"\\u00e9"'),
    ],
)
def test_canonical_json(value, text):
    assert canonical_json(value) == text
    assert digest(value) == hashlib.sha256(text.encode()).hexdigest()[:10]
    assert digest(value, 64) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1}, {"a": 1.0}),
        ([1, (2, 3)], (1, [2, 3])),
        ({1: "x"}, {"1": "x"}),
        ({"a": [{"y": 0.0, "x": 1}]}, {"a": [{"x": 1.0, "y": 0}]}),
    ],
)
def test_one_meaning_has_one_text(one, other):
    assert canonical_json(one) == canonical_json(other)


@pytest.mark.parametrize(
    ("one", "other"), [(1, "1"), (1, True), (0, None), ([1, 2], [2, 1]), ({"a": 1}, {"a": 1.5}), ({"a": 1}, {"b": 1}), ([], {})]
)
def test_two_meanings_have_two_texts(one, other):
    assert canonical_json(one) != canonical_json(other)


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": -float("inf")}])
def test_values_that_json_lacks_are_refused(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(value)


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A copy of the package's source that `code_hash` reads; no old code is said to be the same."""
    clear_caches()
    folder = tmp_path / "src"
    shutil.copytree(Path(gendistill.__file__).parent, folder / "gendistill", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "SOURCE", folder)
    monkeypatch.setattr(code, "REFACTORINGS", tmp_path / "refactorings.yaml")
    yield folder / "gendistill"
    clear_caches()


def clear_caches():
    code._read_module.cache_clear()
    code._refactorings.cache_clear()


def hash_of(module):
    clear_caches()
    return code.code_hash(f"gendistill.{module}")


SAMPLE = '''"""A module."""

from typing import TYPE_CHECKING

from gendistill.errors import UserError

if TYPE_CHECKING:
    from gendistill.runtime import Runtime

LIMIT = 3


def double(x: int, *, times: int = 2) -> int:
    """Twice x."""
    if x > LIMIT:
        raise UserError(f"{x} is too large")
    return times * x


class Thing:
    """A thing."""

    size = 1


if __name__ == "__main__":
    print(double(2))
'''


@pytest.fixture
def sample(source):
    (source / "sample.py").write_text(SAMPLE)
    return source / "sample.py"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A module."""', '"""Another text."""'),
        ('"""A module."""\n', ""),
        ('    """Twice x."""\n', ""),
        ('"""A thing."""', "'''Some\n    thing.'''"),
        ("LIMIT = 3", "# no more than\nLIMIT = 3  # this"),
        ("LIMIT = 3", "\n\n\nLIMIT   =   (3)"),
        ("return times * x", "return (\n        times\n        * x\n    )"),
        ("print(double(2))", "print(double(3), 'changed')"),
        ("    from gendistill.runtime import Runtime", "    from gendistill.runtime import Runtime as R"),
        ('if __name__ == "__main__":', "if __name__ == '__main__':"),
        ('f"{x} is too large"', "f'{x} is too large'"),
    ],
)
def test_code_hash_does_not_see_what_changes_no_result(sample, old, new):
    before = hash_of("sample")
    assert old in SAMPLE
    sample.write_text(SAMPLE.replace(old, new))
    assert hash_of("sample") == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("LIMIT = 3", "LIMIT = 3.0"),
        ("LIMIT = 3", 'LIMIT = "3"'),
        ("x > LIMIT", "x >= LIMIT"),
        ("times * x", "x * times"),
        ("times: int = 2", "times: int = 3"),
        ("times: int = 2", "times: int"),
        ("size = 1", "size = None"),
        ("too large", "too big"),
        ("    return times * x", '    "not a docstring"\n    return times * x'),
        ("from gendistill.errors import UserError", "from gendistill.errors import SettingError as UserError"),
    ],
)
def test_code_hash_sees_what_may_change_a_result(sample, old, new):
    before = hash_of("sample")
    assert old in SAMPLE
    sample.write_text(SAMPLE.replace(old, new))
    assert hash_of("sample") != before


def add_constant(path):
    path.write_text(path.read_text() + "\nADDED = 1\n")


@pytest.mark.parametrize(
    ("root", "edited", "seen"),
    [
        ("training.run", "training/run.py", True),
        ("training.run", "training/schedule.py", True),
        ("training.run", "data/views.py", True),
        ("training.run", "files.py", True),
        ("training.run", "training/__init__.py", True),
        ("training.run", "__init__.py", True),
        ("training.run", "runtime.py", False),
        ("training.run", "objectives/ban.py", False),
        ("training.run", "networks/resnet.py", False),
        ("training.run", "evaluation/ensemble.py", False),
        ("training.run", "plan/build.py", False),
        ("objectives.ban", "objectives/__init__.py", True),
        ("objectives.ban", "objectives/tolerant.py", False),
        ("objectives.top_score_difference", "errors.py", True),
        ("evaluation.ensemble", "files.py", True),
        ("evaluation.ensemble", "training/run.py", False),
    ],
)
def test_code_hash_covers_what_is_imported_and_no_more(source, root, edited, seen):
    before = hash_of(root)
    add_constant(source / edited)
    assert (hash_of(root) != before) == seen


@pytest.mark.parametrize(
    "line",
    [
        "import gendistill.extra",
        "import gendistill.extra as e",
        "from gendistill import extra",
        "from gendistill.extra import X",
        "from . import extra",
        "from .extra import X",
        "def f():\n    from gendistill.extra import X",
        "import middle_is_not_ours\nfrom gendistill.middle import Y",
    ],
)
def test_code_hash_follows_every_way_to_import(source, line):
    (source / "middle.py").write_text("from gendistill.extra import X as Y\n")
    (source / "extra.py").write_text("X = 1\n")
    (source / "sample.py").write_text(f"{line}\n")
    before = hash_of("sample")
    (source / "extra.py").write_text("X = 2\n")
    assert hash_of("sample") != before


def test_code_hash_follows_relative_imports_from_a_folder(source):
    (source / "objectives" / "sample.py").write_text("from ..extra import X\nfrom .ban import loss\n")
    (source / "extra.py").write_text("X = 1\n")
    hashes = [hash_of("objectives.sample")]
    for edited in ("extra.py", "objectives/ban.py"):
        add_constant(source / edited)
        hashes.append(hash_of("objectives.sample"))
    assert len(set(hashes)) == 3


def test_code_hash_covers_the_packages_that_an_imported_module_lies_in(source):
    (source / "sample.py").write_text("import gendistill.objectives.ban\n")
    hashes = [hash_of("sample")]
    for edited in ("__init__.py", "objectives/__init__.py"):
        add_constant(source / edited)
        hashes.append(hash_of("sample"))
    assert len(set(hashes)) == 3


def test_modules_that_import_each_other_have_a_hash(source):
    (source / "one.py").write_text("import gendistill.two\n")
    (source / "two.py").write_text("import gendistill.one\n")
    before = hash_of("one")
    add_constant(source / "two.py")
    assert hash_of("one") != before


def test_a_refactoring_keeps_the_old_hash(sample, tmp_path):
    old = hash_of("sample")
    sample.write_text(SAMPLE.replace("times * x", "x * times"))
    new = hash_of("sample")
    sample.write_text(SAMPLE.replace("times * x", "+x * times"))
    newest = hash_of("sample")
    assert len({old, new, newest}) == 3
    known = {"gendistill.sample": {new: {"same_as": old}, newest: {"same_as": new}}}
    (tmp_path / "refactorings.yaml").write_text(yaml.safe_dump(known))
    assert hash_of("sample") == old
    add_constant(sample)
    assert hash_of("sample") not in (old, new, newest)


def test_a_refactoring_of_one_module_says_nothing_of_another(sample, source, tmp_path):
    (source / "twin.py").write_text("import gendistill.sample\n")
    old = hash_of("twin")
    (tmp_path / "refactorings.yaml").write_text(yaml.safe_dump({"gendistill.sample": {old: {"same_as": "0000000000"}}}))
    assert hash_of("twin") == old


def id_of(kind, settings, inputs=None, slug="slug"):
    return make_step(kind, slug, settings, {"m": "h"}, inputs or {}).id


def test_an_id_is_a_slug_and_a_hash_of_the_spec():
    data = make_step("dataset", "digits", {"_target_": "t", "size": 8.0}, {"m": "h"}, {}, {"path": "/home/a"})
    spec = '{"code":{"m":"h"},"inputs":{},"kind":"dataset","settings":{"_target_":"t","size":8}}'
    assert data.id == "digits-" + hashlib.sha256(spec.encode()).hexdigest()[:10]
    settings = {"network": {"name": "n", "depth": 8}, "list": [{"name": "x", "y": 1}], "seed": 0}
    step = make_step("generation", "s", settings, {"m": "h"}, {"dataset": data, "networks": [data, data]})
    spec = {
        "kind": "generation",
        "settings": {"network": {"depth": 8}, "list": [{"name": "x", "y": 1}], "seed": 0},
        "code": {"m": "h"},
        "inputs": {"dataset": f"dataset/{data.id}", "networks": [f"dataset/{data.id}"] * 2},
    }
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    assert step.id == "s-" + hashlib.sha256(text.encode()).hexdigest()[:10]
    assert step.settings == settings
    assert step.parents == [data.name]


def test_a_step_knows_its_files():
    step = make_step("softlabels", "s", {"pad": 2}, {}, {})
    assert step.folder == f"runs/softlabels/{step.id}"
    assert step.files == [f"{step.folder}/softlabels.npy", f"{step.folder}/receipt.json"] == [*step.files[:1], step.receipt]
    spec = json.loads(step.to_json())
    assert (spec["kind"], spec["id"], spec["settings"]) == ("softlabels", step.id, {"pad": 2})


def test_where_the_data_lie_does_not_change_the_id():
    ids = {make_step("dataset", "s", {}, {}, {}, source).id for source in (None, {"path": "a"}, {"path": "b"})}
    assert len(ids) == 1


def test_neutral_defaults_are_left_out_of_the_id():
    assert id_of("patriarch", {"seed": 0, "member": 0}) == id_of("patriarch", {"seed": 0})
    assert id_of("patriarch", {"seed": 0, "member": 1}) != id_of("patriarch", {"seed": 0})
    assert id_of("generation", {"seed": 0, "member": 0}) != id_of("generation", {"seed": 0})
    assert make_step("patriarch", "s", {"member": 0}, {}, {}).settings == {"member": 0}


@pytest.mark.parametrize(
    ("kind", "settings", "inputs"),
    [("softlabels", {"a": 1}, {}), ("dataset", {"a": 2}, {}), ("dataset", {"b": 1}, {}), ("dataset", {"a": 1}, {"x": []})],
)
def test_kind_settings_and_inputs_change_the_id(kind, settings, inputs):
    assert id_of(kind, settings, inputs) != id_of("dataset", {"a": 1})
    assert make_step("dataset", "slug", {"a": 1}, {"m": "other"}, {}).id != id_of("dataset", {"a": 1})


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


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("composed"))
        return compose_experiment("demo")


@pytest.fixture
def settings(composed):
    """A composed experiment with one lineage, `line`, of 3 generations."""
    settings = copy.deepcopy(composed)
    return {**settings, "seeds": [0], "generations": 3, "lineages": {"line": {}}, "scratch": 0, "transfer": []}


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


def test_a_change_of_a_group():
    base = load_group("objective", "tolerant")
    assert resolve_group("objective", base, None, "file") == base
    assert resolve_group("objective", base, "ban", "file") == load_group("objective", "ban")
    assert resolve_group("objective", base, {"lambda": 0.1}, "file") == {**base, "lambda": 0.1}
    assert resolve_group("objective", base, {"name": "ban", "temperature": 3}, "file") == {
        **load_group("objective", "ban"),
        "temperature": 3,
    }
    with pytest.raises(SettingError, match=r"no such objective\. Allowed: attention_transfer, ban, ban_label"):
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


def plan_of(settings, **changes):
    plan = Plan()
    add_experiment(plan, "demo", {**copy.deepcopy(settings), **changes})
    return plan


def test_students_read_the_soft_labels_of_their_teacher(settings):
    plan = plan_of(settings, teacher=["previous", 0, "previous"])
    names = [plan.roles[f"demo-line-gen{k}-seed0"] for k in range(4)]
    for k, teacher in ((1, 0), (2, 0), (3, 2)):
        inputs = plan.steps[names[k]].inputs
        assert inputs.keys() == {"dataset", "softlabels"}
        assert plan.steps[inputs["softlabels"]].inputs["teacher"] == names[teacher]
    assert len(plan.of_kind("softlabels")) == 2


def test_students_of_an_online_teacher_read_the_teacher(settings):
    plan = plan_of(settings, soft_labels="online")
    for k in (1, 2, 3):
        student = plan.steps[plan.roles[f"demo-line-gen{k}-seed0"]]
        assert student.inputs["teacher"] == plan.roles[f"demo-line-gen{k - 1}-seed0"]
    assert plan.of_kind("softlabels") == []


def test_networks_from_scratch_share_the_patriarch(settings):
    plan = plan_of(settings, scratch=3)
    assert plan.roles["demo-scratch-net0-seed0"] == plan.roles["demo-line-gen0-seed0"]
    assert len(plan.of_kind("patriarch")) == 3
    assert [step.settings["member"] for step in plan.of_kind("patriarch")] == [0, 1, 2]


def test_every_step_reads_what_it_needs(settings):
    plan = plan_of(settings, scratch=2, transfer=["digits8x8"])
    data, target = plan.roles["demo-dataset-mnist5k"], plan.roles["demo-dataset-digits8x8"]
    networks = [plan.roles[f"demo-line-gen{k}-seed0"] for k in range(4)]
    inputs = {role.removeprefix("demo-"): plan.steps[name].inputs for role, name in plan.roles.items()}
    assert inputs["dataset-mnist5k"] == {}
    assert inputs["line-gen0-seed0"] == inputs["scratch-net1-seed0"] == {"dataset": data}
    assert inputs["line-softlabels0-seed0"] == {"dataset": data, "teacher": networks[0]}
    assert inputs["line-statistics-seed0"] == {"dataset": data, "networks": networks}
    assert inputs["line-ensemble-gen0to3-seed0"] == {"members": networks}
    assert inputs["line-ensemble-gen1to3-seed0"] == {"members": networks[1:]}
    assert inputs["scratch-ensemble-net0to1-seed0"] == {"members": [networks[0], plan.roles["demo-scratch-net1-seed0"]]}
    transfers = [step.inputs for step in plan.of_kind("transfer")]
    assert transfers == [{"network": network, "dataset": target} for network in networks]


def changed_roles(settings, **changes):
    """The roles whose step has another id after a change."""
    before, after = plan_of(settings), plan_of(settings, **changes)
    assert before.roles.keys() <= after.roles.keys()
    return {role.removeprefix("demo-") for role, name in before.roles.items() if after.roles[role] != name}


def test_the_objective_of_the_last_generation_changes_that_and_what_reads_it(settings):
    line = {"objective": [{}, {}, {"temperature": 2}]}
    evaluations = {"line-statistics-seed0", "line-ensemble-gen1to3-seed0", "line-ensemble-gen0to3-seed0", "tables"}
    assert changed_roles(settings, lineages={"line": line}) == {"line-gen3-seed0", *evaluations}


@pytest.mark.parametrize("changes", [{"runtime": {"device": "cpu", "threads": 7, "checkpoint_every": 9}}, {"run": {"seed": 5}}])
def test_what_changes_no_result_changes_no_id(settings, changes):
    assert changed_roles(settings, **changes) == set()


def test_another_seed_adds_and_changes_only_the_tables(settings):
    assert changed_roles(settings, seeds=[0, 1]) == {"tables"}


def test_the_way_to_average_changes_the_ensembles(settings):
    found = changed_roles(settings, ensemble={"average": "logits"})
    assert found == {"line-ensemble-gen1to3-seed0", "line-ensemble-gen0to3-seed0", "tables"}


def test_the_recipe_changes_all_but_the_data(settings):
    found = changed_roles(settings, recipe={**settings["recipe"], "epochs": 3})
    assert found == {role.removeprefix("demo-") for role in plan_of(settings).roles} - {"dataset-mnist5k"}


@pytest.mark.parametrize("name", experiment_names())
def test_every_experiment_can_be_planned(name):
    plan = build_plan([name])
    for step in plan.steps.values():
        assert all(parent in plan.steps for parent in step.parents)


def test_an_unknown_step_or_experiment_is_named(settings):
    with pytest.raises(SettingError, match="runs/patriarch/nothing belongs to no step of the experiments demo"):
        plan_of(settings).find("patriarch", "nothing")
    with pytest.raises(SettingError, match=r"experiment = nothing: there is no such experiment\. Allowed: .*demo"):
        build_plan(["nothing"])
    step = plan_of(settings).of_kind("patriarch")[0]
    assert plan_of(settings).find("patriarch", step.id) == step


def test_overrides_are_composed():
    assert compose_experiment("demo", ("objective.temperature=2", "seeds=[4]"))["seeds"] == [4]
    assert compose_experiment("demo", ("objective.temperature=2",))["objective"]["temperature"] == 2
    assert compose_experiment("demo")["objective"]["temperature"] == 1
    for override in ("nothing.here=1", "objective.temprature=2"):
        with pytest.raises(SettingError, match=override.partition("=")[0].partition(".")[0]):
            build_plan(["demo"], (override,))


def test_a_fingerprint_follows_the_content(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"one")
    (tmp_path / "b.npz").write_bytes(b"one")
    (tmp_path / "c.npz").write_bytes(b"two")
    one, same, other = (fingerprint(str(tmp_path / f"{name}.npz"), "file") for name in "abc")
    assert one == same == fingerprint("a.npz", "file")
    assert one != other
    (tmp_path / "a.npz").write_bytes(b"more")
    assert fingerprint("a.npz", "file") not in (one, other)


def test_a_fingerprint_of_a_folder_follows_names_and_contents(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder / "cat").mkdir(parents=True)
        (tmp_path / folder / "cat" / "1.png").write_bytes(b"x")
    assert fingerprint("one", "file") == fingerprint("two", "file")
    (tmp_path / "two" / "cat").rename(tmp_path / "two" / "dog")
    renamed = fingerprint("two", "file")
    (tmp_path / "two" / "dog" / "2.png").write_bytes(b"x")
    assert len({fingerprint("one", "file"), renamed, fingerprint("two", "file")}) == 3


def test_data_that_are_not_there_are_named():
    with pytest.raises(SettingError, match=r"dataset\.path = nowhere: there is no such file or folder\. Set in file"):
        fingerprint("nowhere", "file")


LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [30, 10, 20, 11, 50]))


def test_as_many_images_of_each_class_are_drawn():
    drawn = draw_per_class(LABELS, 9, 3, "what")
    assert (np.diff(drawn) > 0).all()
    assert np.bincount(LABELS[drawn]).tolist() == [9] * 5
    assert np.array_equal(drawn, draw_per_class(LABELS, 9, 3, "what"))
    assert not np.array_equal(drawn, draw_per_class(LABELS, 9, 4, "what"))


def test_the_draw_from_a_class_depends_on_no_other_class():
    drawn = draw_per_class(LABELS, 9, 3, "what")
    kept = np.flatnonzero(np.isin(LABELS, [0, 4]))
    assert np.array_equal(kept[draw_per_class(LABELS[kept], 9, 3, "what")], drawn[np.isin(LABELS[drawn], [0, 4])])


def test_classes_are_drawn_from_independently():
    labels = np.repeat([0, 1], 100)
    drawn = draw_per_class(labels, 50, 0, "what")
    assert not np.array_equal(drawn[:50], drawn[50:] - 100)


def test_each_image_is_as_likely_to_be_drawn():
    labels = np.repeat([0, 1, 2], 10)
    counts = np.bincount(np.concatenate([draw_per_class(labels, 3, seed, "what") for seed in range(2000)]), minlength=30)
    # The counts of a class vary less than independent ones would, by 1 - 3/10.
    assert chisquare(counts).statistic / (1 - 3 / 10) < 60
    assert counts.sum() == 2000 * 9


@pytest.mark.parametrize("per_class", [10, 11])
def test_one_image_of_each_class_must_be_left(per_class):
    with pytest.raises(UserError, match=f"dataset.it = {per_class}: class 1 has only 10 images"):
        draw_per_class(LABELS, per_class, 0, "dataset.it")


def make_images():
    generator = np.random.default_rng(0)
    images = {split: generator.integers(0, 256, size=(4, 2, 5, 6), dtype=np.uint8) for split in ("train", "test", "validation")}
    labels = {"train": np.array([0, 1, 0, 1]), "test": np.array([1, 1, 0, 0]), "validation": np.array([0, 0, 0, 0])}
    return Images(images, labels, ["a", "b"], [0, 1], ["x", "y"])


def test_good_images_pass_and_survive_the_disk(tmp_path):
    data = make_images()
    check_images(data, None)
    save_images(data, tmp_path)
    sha256 = hashlib.sha256((tmp_path / "dataset.safetensors").read_bytes()).hexdigest()
    (tmp_path / "receipt.json").write_text(json.dumps({"outputs": {"dataset.safetensors": {"sha256": sha256}}}))
    found = load_images(tmp_path)
    assert (found.classes, found.superclass_of, found.superclasses, found.shape) == (["a", "b"], [0, 1], ["x", "y"], (2, 5, 6))
    for split in ("train", "test", "validation"):
        assert np.array_equal(found.images[split], data.images[split])
        assert np.array_equal(found.labels[split], data.labels[split])
    mean, std = found.mean_and_std()
    pixels = data.images["train"].astype(np.float64).transpose(1, 0, 2, 3).reshape(2, -1)
    np.testing.assert_allclose([mean, std], [pixels.mean(axis=1), pixels.std(axis=1)])


def test_images_of_one_colour_have_no_standard_deviation_of_zero():
    data = make_images()
    data.images["train"][:] = 7
    assert data.mean_and_std() == ([7.0, 7.0], [1e-6, 1e-6])


@pytest.mark.parametrize(
    ("kind", "split", "value", "message"),
    [
        ("images", "test", np.zeros((4, 2, 5, 6), np.float32), "test_images: must be uint8"),
        ("images", "test", np.zeros((4, 5, 6), np.uint8), "test_images: must be uint8 of shape"),
        ("images", "test", np.zeros((4, 2, 6, 6), np.uint8), "test_images have shape"),
        ("images", "train", np.zeros((3, 2, 5, 6), np.uint8), "train: 3 images, but 4 labels"),
        ("labels", "train", np.array([0, 1, 2, 1]), r"train_labels: must lie in 0 \.\. 1, got 0 \.\. 2"),
        ("labels", "test", np.array([0, 1, -1, 1]), r"test_labels: must lie in 0 \.\. 1, got -1 \.\. 1"),
        ("labels", "test", np.array([0, 0, 0, 0]), "test: no images of class b"),
        ("labels", "train", np.array([1, 1, 1, 1]), "train: no images of class a"),
    ],
)
def test_images_that_cannot_be_trained_on_are_refused(kind, split, value, message):
    data = make_images()
    getattr(data, kind)[split] = value
    with pytest.raises(UserError, match=message):
        check_images(data, None)


def test_images_of_another_size_than_was_set_are_refused():
    with pytest.raises(UserError, match=r"dataset\.image_size = 5, but the images are 5x6"):
        check_images(make_images(), 5)
