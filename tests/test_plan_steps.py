"""The steps of a plan: what each reads, and which get another id after a change."""

import copy

import pytest

from gendistill.errors import SettingError
from gendistill.plan import Plan, build_plan
from gendistill.plan.build import add_experiment
from gendistill.plan.settings import experiment_names
from tests.demo import demo_settings


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Caches lie below the current directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def settings():
    return demo_settings()


def plan_of(settings, **changes):
    plan = Plan()
    add_experiment(plan, "demo", {**copy.deepcopy(settings), **changes})
    return plan


@pytest.mark.parametrize(("epochs", "labels"), [(15, 3), (40, 2)])
def test_students_read_the_soft_labels_of_their_teacher(settings, epochs, labels):
    """In 40 epochs they draw most views, so that all of them are dumped, once for both generations that have one teacher."""
    recipe = {**settings["recipe"], "epochs": epochs}
    plan = plan_of(settings, teacher=["previous", 0, "previous"], recipe=recipe)
    names = [plan.roles[f"demo-line-gen{k}-seed0"] for k in range(4)]
    for k, teacher in ((1, 0), (2, 0), (3, 2)):
        inputs = plan.steps[names[k]].inputs
        assert inputs.keys() == {"dataset", "softlabels"}
        assert plan.steps[inputs["softlabels"]].inputs["teacher"] == names[teacher]
    assert len(plan.of_kind("softlabels")) == labels


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
    statistics = [inputs[f"line-gen{k}-seed0-statistics"] for k in range(4)]
    assert statistics == [{"dataset": data, "network": network} for network in networks]
    files = [f"{data}/dataset.safetensors", f"{data}/receipt.json"]
    files += [f"{networks[3]}/model.safetensors", f"{networks[3]}/receipt.json"]
    assert plan.steps[plan.roles["demo-line-gen3-seed0-statistics"]].reads == [f"runs/{file}" for file in files]
    assert inputs["line-ensemble-gen0to3-seed0"] == {"members": networks}
    assert inputs["line-ensemble-gen1to3-seed0"] == {"members": networks[1:]}
    assert inputs["scratch-ensemble-net0to1-seed0"] == {"members": [networks[0], plan.roles["demo-scratch-net1-seed0"]]}
    transfers = [step.inputs for step in plan.of_kind("transfer")]
    assert transfers == [{"network": network, "dataset": target} for network in networks]


def test_lineages_that_share_a_patriarch_share_its_statistics(settings):
    plan = plan_of(settings, lineages={"line": {}, "other": {"objective": {"temperature": 2}}})
    for k in range(4):
        step, other = (plan.roles[f"demo-{key}-gen{k}-seed0-statistics"] for key in ("line", "other"))
        assert (step == other) == (k == 0)


def changed_roles(settings, **changes):
    """The roles whose step has another id after a change; figures, which show what changes, are left out."""
    before, after = plan_of(settings), plan_of(settings, **changes)
    assert before.roles.keys() <= after.roles.keys()
    changed = {role.removeprefix("demo-") for role, name in before.roles.items() if after.roles[role] != name}
    return {role for role in changed if not role.startswith("figure-")}


def test_the_objective_of_the_last_generation_changes_that_and_what_reads_it(settings):
    line = {"objective": [{}, {}, {"temperature": 2}]}
    evaluations = {"line-gen3-seed0-statistics", "line-ensemble-gen1to3-seed0", "line-ensemble-gen0to3-seed0", "tables"}
    assert changed_roles(settings, lineages={"line": line}) == {"line-gen3-seed0", *evaluations}


@pytest.mark.parametrize(
    ("group", "changes"),
    [("runtime", {"device": "cpu", "threads": 7, "checkpoint_every": 9, "side_by_side": 4}), ("run", {"seed": 5})],
)
def test_what_changes_no_result_changes_no_id(settings, group, changes):
    assert changed_roles(settings, **{group: {**settings[group], **changes}}) == set()


def test_another_seed_adds_and_changes_only_the_tables(settings):
    assert changed_roles(settings, seeds=[0, 1]) == {"tables"}


def test_the_way_to_average_changes_the_ensembles(settings):
    found = changed_roles(settings, ensemble={"average": "logits"})
    members = ("gen1to2", "gen1to3", "gen0to1", "gen0to2", "gen0to3")
    assert found == {*(f"line-ensemble-{each}-seed0" for each in members), "tables"}


def test_the_recipe_changes_all_but_the_data(settings):
    found = changed_roles(settings, recipe={**settings["recipe"], "epochs": 3})
    roles = {role.removeprefix("demo-") for role in plan_of(settings).roles if "-figure-" not in role}
    assert found == roles - {"dataset-mnist5k"}


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
