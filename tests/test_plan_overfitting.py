"""A recipe's settings against overfitting: which of them need the teacher online, what they do to ids, and mistakes."""

import shutil

import pytest

from gendistill.errors import SettingError
from gendistill.plan import build_plan, code, settings
from gendistill.plan.paths import CONFIG
from gendistill.plan.step import make_step
from gendistill.softlabels.exact import OFF, why_online

ONE = ("seeds=[0]", "scratch=0", "transfer=[]", "~lineages.tolerant", "claims=[]")
ON = {"cutout": 8, "mixup": 0.2, "auto_augment": "svhn", "dropout": 0.5, "spatial_dropout": 0.1, "drop_block": 0.1}
NEED_THE_TEACHER = ("cutout", "mixup", "auto_augment")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """The cache of composed settings goes to the current folder."""
    monkeypatch.chdir(tmp_path)


def plan_of(*overrides, experiment="demo"):
    return build_plan([experiment], (*ONE, *overrides))


def networks(plan):
    return [plan.steps[plan.roles[f"demo-ban-gen{k}-seed0"]] for k in range(4)]


@pytest.mark.parametrize("name", ON)
@pytest.mark.parametrize("soft_labels", ["stored", "online"])
def test_students_of_changed_views_have_their_teacher_online(name, soft_labels):
    _, *students = networks(plan_of(f"recipe.{name}={ON[name]}", f"soft_labels={soft_labels}"))
    online = soft_labels == "online" or name in NEED_THE_TEACHER
    for student in students:
        assert student.settings["recipe"][name] == ON[name]
        assert set(student.inputs) == {"dataset", "teacher" if online else "softlabels"}


def test_each_generation_has_the_soft_labels_that_its_own_recipe_needs():
    plan = plan_of("+lineages.ban.recipe={mixup: [0, 0.2, 0]}", "+patriarch.recipe={mixup: 0.4}")
    patriarch, *students = networks(plan)
    assert patriarch.settings["recipe"]["mixup"] == 0.4
    assert [set(student.inputs) - {"dataset"} for student in students] == [{"softlabels"}, {"teacher"}, {"softlabels"}]


def test_why_a_teacher_is_online():
    assert why_online({"epochs": 3}) == why_online({**OFF, "dropout": 0.5, "spatial_dropout": 0.1, "drop_block": 0.1}) == ""
    assert (
        why_online({"mixup": 0.2})
        == "recipe.mixup = 0.2 mixes each image with another, and no store has the teacher's outputs on that"
    )
    for name in NEED_THE_TEACHER:
        assert why_online({name: ON[name]}).startswith(f"recipe.{name} = {ON[name]} ")
    both = why_online({"cutout": 8, "auto_augment": "svhn"})
    assert "recipe.cutout = 8" in both
    assert "recipe.auto_augment = svhn" in both


def test_ids_stay_where_the_settings_are_off():
    def ids(*overrides):
        return set(plan_of(*overrides).steps)

    off = [f"recipe.{name}={'null' if value is None else value}" for name, value in OFF.items()]
    assert ids(*off) == ids()
    # Only what the patriarch is prepared from is the same.
    others = [ids(f"recipe.{name}={value}") for name, value in ON.items()] + [ids("recipe.drop_block_size=5")]
    for other in others:
        assert {name.partition("/")[0] for name in other & ids()} == {"dataset"}


def test_a_setting_that_is_off_is_left_out_of_the_id():
    def id_of(**recipe):
        return make_step("patriarch", "s", {"seed": 0, "recipe": {"name": "r", "batch_size": 8, **recipe}}, {}, {}).id

    assert id_of() == id_of(**OFF) == id_of(mixup=0, dropout=0) == id_of(cutout=0.0)
    assert len({id_of(), *(id_of(**{name: value}) for name, value in ON.items())}) == 1 + len(ON)


@pytest.mark.parametrize(
    ("override", "allowed"),
    [
        ("cutout=-1", "an integer of at least 0"),
        ("cutout=1.5", "an integer of at least 0"),
        ("mixup=-0.1", "a number of at least 0"),
        ("mixup=inf", "a number of at least 0"),
        ("auto_augment=cifar", "null (none), cifar10, svhn or imagenet"),
        ("auto_augment=true", "null (none), cifar10, svhn or imagenet"),
        ("dropout=1", "a number of at least 0, below 1"),
        ("spatial_dropout=-0.1", "a number of at least 0, below 1"),
        ("drop_block=1.1", "a number of at least 0, below 1"),
        ("drop_block_size=0", "an integer of at least 1"),
    ],
)
def test_mistakes_name_setting_value_and_what_is_allowed(override, allowed):
    with pytest.raises(SettingError) as error:
        plan_of(f"recipe.{override}")
    name, _, value = override.partition("=")
    for part in (
        f"recipe.{name} = ",
        value.capitalize() if value == "true" else value,
        f"must be {allowed}.",
        "config/experiment/demo.yaml",
    ):
        assert part in str(error.value)


def test_a_typo_is_told_the_settings_that_no_file_has():
    with pytest.raises(SettingError, match=r"recipe\.cut_out = 8: unknown setting of recipe digits\. Allowed: .*, cutout, mixup, "):
        plan_of("recipe.cut_out=8")


@pytest.mark.parametrize("name", ON)
def test_recipes_for_text_do_not_have_them(name):
    with pytest.raises(
        SettingError, match=rf"recipe\.{name} = .*: for images only, not a setting of recipe pydoc_lstm\. Allowed: "
    ):
        build_plan(["pydoc"], (f"recipe.{name}={ON[name]}",))


def test_an_experiment_can_set_them(tmp_path, monkeypatch):
    shutil.copytree(CONFIG, tmp_path / "config")
    demo = (tmp_path / "config/experiment/demo.yaml").read_text()
    (tmp_path / "config/experiment/own.yaml").write_text(f"{demo}\nrecipe:\n  cutout: 6\n")
    monkeypatch.setattr(settings, "CONFIG", tmp_path / "config")
    plan = plan_of(experiment="own")
    assert plan.steps[plan.roles["own-ban-gen2-seed0"]].settings["recipe"]["cutout"] == 6


def test_only_networks_for_images_depend_on_their_code():
    assert "gendistill.data.augment" in code.module_hashes("gendistill.training.run")
    assert "gendistill.training.dropout" in code.module_hashes("gendistill.training.run")
    for other in ("gendistill.language.run", "gendistill.softlabels.dump", "gendistill.data.prepare"):
        assert not {"gendistill.data.augment", "gendistill.training.dropout"} & code.module_hashes(other).keys()
