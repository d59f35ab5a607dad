"""Which trainings share a job: those that differ by their seed only."""

import json

import pytest

from gendistill.errors import SettingError, UserError
from gendistill.plan import build_plan
from gendistill.plan.siblings import read_siblings, siblings, siblings_file, write_siblings
from gendistill.plan.step import NETWORKS


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def plan_of(at_a_time, *overrides):
    return build_plan(["demo"], ("seeds=[0,1,2,3,4]", f"runtime.side_by_side={at_a_time}", *overrides))


def names(found):
    return [[step.name for step in steps] for steps in found.values()]


def test_without_the_setting_each_has_a_job_of_its_own():
    plan = build_plan(["demo"])
    assert siblings(plan, plan.steps) == {}


def test_siblings_differ_by_the_seed_only_and_share_a_job_in_the_order_of_seeds():
    plan = plan_of(2)
    found = siblings(plan, plan.steps)
    roles = {name: role for role, name in reversed(plan.roles.items())}
    for steps in found.values():
        assert [step.settings["seed"] for step in steps] in ([0, 1], [2, 3])
        assert len({json.dumps({**step.settings, "seed": None}) for step in steps}) == 1
        assert len({roles[step.name].rpartition("-seed")[0] for step in steps}) == 1
    trained = [name for name, step in plan.steps.items() if step.kind in NETWORKS]
    shared = [name for group in names(found) for name in group]
    # The fifth seed is left alone; all others share.
    assert len(shared) == len(set(shared)) == len(trained) * 4 / 5


def test_networks_with_the_same_settings_but_other_teachers_are_no_siblings():
    """The generations of two lineages whose patriarchs alone differ have the same settings."""
    plan = plan_of(5)
    lineages = {}
    for steps in siblings(plan, plan.steps).values():
        lineages.setdefault(steps[0].settings.get("generation", 0), []).append(len(steps))
    assert all(count == 5 for counts in lineages.values() for count in counts)
    for steps in siblings(plan, plan.steps).values():
        teachers = {step.inputs["softlabels"] for step in steps if "softlabels" in step.inputs}
        assert len(teachers) in (0, 5)


def test_no_id_depends_on_it():
    assert plan_of(1).steps == plan_of(4).steps


def test_what_is_finished_is_left_out_and_the_others_move_up():
    plan = plan_of(2, "~lineages.tolerant", "lineages.ban.generations=1", "scratch=0")
    generations = [step.name for step in plan.of_kind("generation")]
    assert names(siblings(plan, generations)) == [generations[0:2], generations[2:4]]
    assert names(siblings(plan, generations[1:])) == [generations[1:3], generations[3:5]]
    assert siblings(plan, generations[4:]) == {}


def test_a_job_finds_its_siblings_by_their_name(tmp_path):
    plan = plan_of(5)
    found = siblings(plan, plan.steps)
    write_siblings(found)
    name, steps = next(iter(found.items()))
    arguments = ["snakemake", "--target-jobs", f"{name}:", "--allowed-rules", name]
    assert read_siblings(plan, arguments) == {name: steps}
    assert json.loads(siblings_file(name).read_text())[0] == json.loads(steps[0].to_json())
    assert read_siblings(plan, ["snakemake", "patriarch"]) == {}
    changed = plan_of(5, "recipe.epochs=3")
    with pytest.raises(UserError, match=f"{name}: settings or code were changed after this job was submitted"):
        read_siblings(changed, arguments)


def test_one_gpu_for_many_networks_and_many_for_one_exclude_each_other():
    with pytest.raises(SettingError, match=r"runtime.side_by_side = 2: must be 1 where runtime.processes = 4.*demo.yaml"):
        plan_of(2, "runtime.processes=4")
    with pytest.raises(SettingError, match=r"runtime.side_by_side = 0: not allowed"):
        plan_of(0)
