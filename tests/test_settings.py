"""Settings: a mistake is one message that says what, where and what would be right; lists give each generation its own value."""

import re
from pathlib import Path

import pytest
import yaml

from gendistill.errors import SettingError
from gendistill.plan import Plan, build_plan
from gendistill.plan.nested import shortened

CONFIG = Path(__file__).resolve().parents[1] / "config"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """The cache of composed settings goes to the current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan_of(*overrides: str, experiment: str = "demo") -> Plan:
    return build_plan([experiment], overrides)


def message_of(*overrides: str) -> str:
    with pytest.raises(SettingError) as caught:
        plan_of(*overrides)
    return str(caught.value)


# Each mistake: the overrides; the setting, the value and what is allowed, as the message must have them.
STUDENTS = "ban, ban_label"
MISTAKES = {
    "unknown dataset": (["dataset=mnist"], "dataset", "mnist", "mnist5k"),
    "unknown network": (["network=resnet9"], "network", "resnet9", "resnet8"),
    "unknown objective": (["objective=bann"], "objective", "bann", "ban_label"),
    "unknown recipe": (["recipe=cifar"], "recipe", "cifar", "cifar_tt"),
    "unknown objective of a lineage": (["+lineages.ban.objective=bann"], "objective", "bann", STUDENTS),
    "unknown objective of a generation": (["+lineages.ban.objective=[ban,ban,bann]"], "objective", "bann", STUDENTS),
    "unknown recipe of the patriarch": (["+patriarch.recipe=cifar"], "recipe", "cifar", "cifar_tt"),
    "unknown network by its name": (["network.name=resnet9"], "network", "resnet9", "resnet8"),
    "unknown transfer data set": (["transfer=[mnist]"], "dataset", "mnist", "mnist5k"),
    "typo in a group": (["objective.temprature=2"], "objective.temprature", "2", "temperature"),
    "typo in a group, added": (["+objective.temprature=2"], "objective.temprature", "2", "temperature"),
    "typo in another member of a group": (["objective=tolerant", "objective.lamda=0.5"], "objective.lamda", "0.5", "lambda"),
    "typo in a recipe": (["recipe.epochs=3", "recipe.epoch=7"], "recipe.epoch", "7", "epochs"),
    "typo at the top": (["seed=3"], "seed", "3", "seeds"),
    "typo in a lineage": (["+lineages.ban.generation=2"], "lineages.ban.generation", "2", "generations"),
    "typo in a lineage's objective": (["+lineages.ban.objective.temprature=2"], "objective.temprature", "2", "temperature"),
    "typo in the patriarch": (["+patriarch.objectives=tsd"], "patriarch.objectives", "tsd", "objective"),
    "typo in runtime": (["runtime.thread=2"], "runtime.thread", "2", "threads"),
    "setting of another objective": (["objective.beta=1"], "objective.beta", "1", "temperature"),
    "text for a number": (["recipe.epochs=abc"], "recipe.epochs", "abc", "an integer of at least 1"),
    "fraction for a count": (["recipe.batch_size=1.5"], "recipe.batch_size", "1.5", "an integer of at least 1"),
    "truth for a count": (["recipe.epochs=true"], "recipe.epochs", "True", "an integer of at least 1"),
    "nothing for a count": (["recipe.epochs=null"], "recipe.epochs", "None", "an integer of at least 1"),
    "number for a truth": (["recipe.flip=2"], "recipe.flip", "2", "true or false"),
    "number for a text": (["description=3"], "description", "3", "a text"),
    "number for a group": (["runtime=3"], "runtime", "3", "device"),
    "no epochs": (["recipe.epochs=0"], "recipe.epochs", "0", "an integer of at least 1"),
    "negative rate": (["recipe.learning_rate=-0.1"], "recipe.learning_rate", "-0.1", "a number above 0"),
    "infinite rate": (["recipe.learning_rate=inf"], "recipe.learning_rate", "inf", "a number above 0"),
    "temperature 0": (["objective.temperature=0"], "objective.temperature", "0", "a number above 0"),
    "infinite temperature": (["objective.temperature=inf"], "objective.temperature", "inf", "a number above 0"),
    "temperature that is no number": (["objective.temperature=nan"], "objective.temperature", "nan", "a number above 0"),
    "lambda above 1": (["objective=tolerant", "objective.lambda=1.5"], "objective.lambda", "1.5", "between 0 and 1"),
    "lambda above 1 in one generation": (
        ["~lineages.tolerant", "objective=tolerant", "objective.lambda=[0.5,1.5,0.5]"],
        "objective.lambda",
        "1.5",
        "between 0 and 1",
    ),
    "u above 1": (["+lineages.ban.patriarch.objective={name: tsd, u: 1.5}"], "objective.u", "1.5", "at most 1"),
    "depth that is not 6n+2": (["network.depth=9"], "network.depth", "9", "6n+2"),
    "depth below 8": (["network.depth=2"], "network.depth", "2", "6n+2"),
    "depth of one generation": (
        ["~lineages.tolerant", "network.depth=[8,9,8]", "+patriarch.network.depth=8"],
        "network.depth",
        "9",
        "6n+2",
    ),
    "milestone after the end": (["recipe.milestones=[2]"], "recipe.milestones", "2", "below 1"),
    "momentum 1": (["recipe.momentum=1"], "recipe.momentum", "1", "below 1"),
    "Nesterov without momentum": (["recipe.momentum=0"], "recipe.momentum", "0", "nesterov"),
    "unknown schedule": (["recipe.schedule=poly"], "recipe.schedule", "poly", "steps or cosine"),
    "unknown device": (["runtime.device=tpu"], "runtime.device", "tpu", "auto, cpu or cuda"),
    "no training images": (["dataset.train_per_class=0"], "dataset.train_per_class", "0", "an integer of at least 1"),
    "negative generations": (["generations=-1"], "generations", "-1", "an integer of at least 0"),
    "negative generations of a lineage": (
        ["lineages.ban.generations=-1"],
        "lineages.ban.generations",
        "-1",
        "an integer of at least 0",
    ),
    "negative scratch": (["scratch=-1"], "scratch", "-1", "an integer of at least 0"),
    "no seeds": (["seeds=[]"], "seeds", "[]", "a list of different integers"),
    "equal seeds": (["seeds=[0,0]"], "seeds", "[0, 0]", "a list of different integers"),
    "seeds without brackets": (["seeds=3"], "seeds", "3", "a list of different integers"),
    "negative seed": (["seeds=[1,-2]"], "seeds", "-2", "at least 0"),
    "unknown ensemble": (["ensemble.average=median"], "ensemble.average", "median", "probabilities or logits"),
    "unknown soft labels": (["soft_labels=maybe"], "soft_labels", "maybe", "stored"),
    "list too short": (["objective.temperature=[1,2]"], "objective.temperature", "[1, 2]", "3 generations"),
    "list too long": (["+lineages.tolerant.recipe.epochs=[1,2,3]"], "recipe.epochs", "[1, 2, 3]", "2 generations"),
    "list of objectives too short": (
        ["+lineages.ban.objective=[ban,tolerant]"],
        "objective",
        "['ban', 'tolerant']",
        "3 generations",
    ),
    "list of teachers too short": (["+lineages.ban.teacher=[previous,0]"], "teacher", "['previous', 0]", "3 generations"),
    "list without a value for the patriarch": (
        ["+lineages.ban.recipe.epochs=[1,2,3]"],
        "recipe.epochs",
        "[1, 2, 3]",
        "patriarch.recipe.epochs",
    ),
    "unknown teacher": (["teacher=next"], "teacher", "next", "previous, patriarch"),
    "teacher of a later generation": (["+lineages.ban.teacher=2"], "teacher", "2", "earlier generation"),
    "teacher of its own generation": (["+lineages.ban.teacher=[previous,2,1]"], "teacher", "2", "0 to 1"),
    "negative teacher": (["+lineages.ban.teacher=-1"], "teacher", "-1", "earlier generation"),
    "student's objective for the patriarch": (["patriarch.objective=ban"], "objective", "ban", "patriarch.objective"),
    "student's objective for one patriarch": (
        ["+lineages.ban.patriarch.objective=tolerant"],
        "objective",
        "tolerant",
        "patriarch.objective",
    ),
    "patriarch's objective for the students": (["objective=tsd"], "objective", "tsd", "student"),
    "patriarch's objective for one student": (
        ["+lineages.ban.objective=[ban,tsd,ban]"],
        "objective",
        "tsd",
        "generation 2 is a student",
    ),
    "lineage with a capital": (["+lineages.Ban.generations=1"], "lineages", "Ban", "lower case"),
    "lineage with a hyphen": (["+lineages={my-line: {generations: 1}}"], "lineages", "my-line", "lower case"),
    "lineage called scratch": (
        ["+lineages.scratch.generations=1"],
        "lineages",
        "scratch",
        "kept for the networks trained from scratch",
    ),
    "other target of an objective": (["objective._target_=os.system"], "objective._target_", "os.system", "must stay"),
    "other target of a network": (["network._target_=os.system"], "network._target_", "os.system", "must stay"),
    "other target of a data set": (["dataset._target_=os.system"], "dataset._target_", "os.system", "must stay"),
    "other target of a patriarch": (["patriarch.objective={_target_: os.system}"], "objective._target_", "os.system", "must stay"),
    "other target of a generation": (
        ["+lineages.ban.objective=[ban,{_target_: os.system},ban]"],
        "objective._target_",
        "os.system",
        "must stay",
    ),
    "objective under another name": (
        ["objective.name=tolerant"],
        "objective._target_",
        "gendistill.objectives.ban.loss",
        "must stay",
    ),
    "no file of the user's": (["dataset=npz", "dataset.path=my/own.npz"], "dataset.path", "my/own.npz", "no such file"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_its_value_what_is_allowed_and_where(mistake):
    overrides, setting, value, allowed = MISTAKES[mistake]
    message = message_of(*overrides)
    # `recipe.epochs = 0`, or as Hydra says it, `recipe/nope`
    assert re.search(rf"{re.escape(setting)}[\w.]*( = |/|: |\.).?{re.escape(value)}", message), message
    assert allowed in message
    assert re.search(r"command line|config/experiment/demo\.yaml|must stay as in config/", message), message
    assert "\n" not in message.strip(), "one line is found again in a log"


def test_an_unknown_experiment_is_named_with_those_that_are_there():
    with pytest.raises(SettingError, match=r"experiment = dmeo: .*Allowed: .*demo.*config/experiment/dmeo\.yaml"):
        build_plan(["demo", "dmeo"])


def test_an_experiment_is_not_put_under_the_name_of_another():
    """Its results would be called those of `demo`."""
    assert "experiments=[cifar100_short]" in message_of("experiment=cifar100_short")


@pytest.mark.parametrize("override", ["recipe.epochs", "recipe.epochs=[1,2", "=3"])
def test_what_hydra_cannot_read_is_shown(override):
    message = message_of(override)
    assert override in message
    assert "command line" in message


TAKEN_AWAY = ["seeds", "dataset", "lineages", "recipe.epochs", "objective.temperature", "objective.name", "objective._target_"]


@pytest.mark.parametrize("setting", TAKEN_AWAY)
def test_a_setting_taken_away_is_missed(setting):
    assert setting.split(".")[-1] in message_of(f"~{setting}")


def test_a_message_does_not_depend_on_an_earlier_one(elsewhere):
    """The cache must not keep what could not be used."""
    first, second = message_of("recipe.epochs=0"), message_of("recipe.epochs=0")
    assert first == second


@pytest.mark.parametrize(
    ("override", "meant"),
    [("seeds=[1.0]", "seeds=[1]"), ("recipe.batch_size=8.0", "recipe.batch_size=8"), ("network.width=8.0", "network.width=8")],
)
def test_one_point_zero_is_one_or_refused(override, meant):
    """One meaning has one path."""
    try:
        steps = list(plan_of(override).steps)
    except SettingError:
        return
    assert steps == list(plan_of(meant).steps)


def test_a_setting_of_a_lineage_that_is_in_no_file_yet_is_not_called_unknown():
    """It is allowed, though Hydra wants a plus before what is new."""
    try:
        plain = plan_of("lineages.ban.objective.temperature=2")
    except SettingError as error:
        assert "+lineages.ban.objective.temperature=2" in str(error)
    else:
        assert list(plain.steps) == list(plan_of("+lineages.ban.objective.temperature=2").steps)


# One value per generation


def settings_of(plan: Plan, role: str) -> dict:
    return plan.steps[plan.roles[role]].settings


def by_generation(plan: Plan, lineage: str, group: str, key: str, first: int = 1) -> list:
    networks = [role for role in plan.roles if re.fullmatch(rf"demo-{lineage}-gen\d+-seed0", role)]
    return [settings_of(plan, f"demo-{lineage}-gen{k}-seed0")[group][key] for k in range(first, len(networks))]


def teachers_of(plan: Plan, lineage: str) -> list[str]:
    """For each student, the role of the network whose soft labels it reads."""
    networks = {plan.roles[role]: role for role in plan.roles if re.fullmatch(rf"demo-{lineage}-gen\d+-seed0", role)}
    found = []
    for student in list(networks)[1:]:
        inputs = plan.steps[student].inputs
        teacher = inputs.get("teacher") or plan.steps[inputs["softlabels"]].inputs["teacher"]
        found.append(networks[teacher])
    return found


BAN_ONLY = ("~lineages.tolerant",)


def test_lambda_by_generation():
    plan = plan_of("lineages.tolerant.objective={name: tolerant, lambda: [0.7, 0.2]}")
    assert by_generation(plan, "tolerant", "objective", "lambda") == [0.7, 0.2]
    assert by_generation(plan, "ban", "objective", "name") == ["ban"] * 3


def test_temperature_by_generation_for_all_lineages():
    plan = plan_of(*BAN_ONLY, "objective.temperature=[1,2,4]")
    assert by_generation(plan, "ban", "objective", "temperature") == [1, 2, 4]
    assert settings_of(plan, "demo-ban-gen0-seed0")["objective"]["name"] == "cross_entropy"


def test_objective_by_generation():
    plan = plan_of("+lineages.ban.objective=[ban_label,ban,{name: tolerant, lambda: 0.3}]")
    assert by_generation(plan, "ban", "objective", "name") == ["ban_label", "ban", "tolerant"]
    assert settings_of(plan, "demo-ban-gen1-seed0")["objective"]["lambda"] == 0.5
    assert settings_of(plan, "demo-ban-gen3-seed0")["objective"]["lambda"] == 0.3
    assert by_generation(plan, "tolerant", "objective", "name") == ["tolerant"] * 2


def test_epochs_by_generation():
    plan = plan_of(*BAN_ONLY, "recipe.epochs=[3,4,5]", "+patriarch.recipe.epochs=9")
    assert by_generation(plan, "ban", "recipe", "epochs", first=0) == [9, 3, 4, 5]
    assert settings_of(plan, "demo-scratch-net1-seed0")["recipe"]["epochs"] == 9


def test_epochs_by_generation_of_one_lineage():
    plan = plan_of("+lineages.ban.recipe.epochs=[3,4,5]", "+lineages.ban.patriarch.recipe.epochs=9")
    assert by_generation(plan, "ban", "recipe", "epochs", first=0) == [9, 3, 4, 5]
    assert by_generation(plan, "tolerant", "recipe", "epochs", first=0) == [15] * 3


@pytest.mark.parametrize("patriarch", ["+patriarch.recipe=cifar_tt", "+lineages.ban.patriarch.recipe=cifar_tt"])
def test_recipe_by_generation(patriarch):
    plan = plan_of("+lineages.ban.recipe=[digits,{epochs: 4},cifar_wrn]", patriarch)
    assert by_generation(plan, "ban", "recipe", "name", first=0) == ["cifar_tt", "digits", "digits", "cifar_wrn"]
    assert by_generation(plan, "ban", "recipe", "epochs") == [15, 4, 200]


def test_network_by_generation():
    plan = plan_of("+lineages.ban.network=[resnet8,resnet14,{width: 4}]", "+lineages.ban.patriarch.network=resnet20")
    assert by_generation(plan, "ban", "network", "depth", first=0) == [20, 8, 14, 8]
    assert by_generation(plan, "ban", "network", "width") == [16, 16, 4]


def test_milestones_are_a_list_by_themselves():
    plan = plan_of("recipe.milestones=[0.2,0.5]")
    assert by_generation(plan, "ban", "recipe", "milestones", first=0) == [[0.2, 0.5]] * 4
    lists = plan_of(*BAN_ONLY, "recipe.milestones=[[0.1],[0.2,0.3],[]]", "+patriarch.recipe.milestones=[0.9]")
    assert by_generation(lists, "ban", "recipe", "milestones", first=0) == [[0.9], [0.1], [0.2, 0.3], []]


@pytest.mark.parametrize("soft_labels", ["stored", "online"])
@pytest.mark.parametrize(
    ("teacher", "expected"),
    [
        ("previous", [0, 1, 2]),
        ("patriarch", [0, 0, 0]),
        ("0", [0, 0, 0]),
        ("[previous,patriarch,1]", [0, 0, 1]),
        ("[0,1,0]", [0, 1, 0]),
    ],
)
def test_teacher_by_generation(teacher, expected, soft_labels):
    plan = plan_of(f"+lineages.ban.teacher={teacher}", f"soft_labels={soft_labels}")
    assert teachers_of(plan, "ban") == [f"demo-ban-gen{k}-seed0" for k in expected]
    assert teachers_of(plan, "tolerant") == [f"demo-tolerant-gen{k}-seed0" for k in (0, 1)]
    assert bool(plan.of_kind("softlabels")) == (soft_labels == "stored")


def test_teacher_of_the_whole_experiment():
    assert teachers_of(plan_of("teacher=patriarch"), "ban") == ["demo-ban-gen0-seed0"] * 3


# Sharing


def test_lineages_with_the_same_patriarch_share_it():
    plan = plan_of("+lineages.other.generations=1", "+lineages.other.objective=tolerant", "scratch=0")
    assert plan.roles["demo-other-gen0-seed0"] == plan.roles["demo-ban-gen0-seed0"]
    assert plan.roles["demo-tolerant-gen0-seed0"] != plan.roles["demo-ban-gen0-seed0"]
    assert plan.roles["demo-other-softlabels0-seed0"] == plan.roles["demo-ban-softlabels0-seed0"]
    assert plan.roles["demo-other-gen1-seed0"] != plan.roles["demo-ban-gen1-seed0"]
    assert len(plan.of_kind("patriarch")) == 2 * 3


def test_soft_labels_are_those_of_the_views_that_students_draw_where_these_are_few():
    plan = plan_of("+lineages.other.generations=2", "+lineages.other.objective=tolerant", "scratch=0")
    for k in (0, 1):
        labels = plan.steps[plan.roles[f"demo-ban-softlabels{k}-seed1"]]
        assert labels.settings == {"pad": 2, "flip": False, "seed": 1, "generation": k + 1, "epochs": 15}
    half = plan_of("objective=kd", "objective.distil_until=0.5", "seeds=[0]").of_kind("softlabels")[0]
    assert half.settings["epochs"] == 8
    many = plan_of("recipe.epochs=17")
    assert {tuple(step.settings) for step in many.of_kind("softlabels")} == {("pad", "flip")}


def test_the_first_network_from_scratch_is_the_patriarch():
    plan = plan_of()
    assert plan.roles["demo-scratch-net0-seed1"] == plan.roles["demo-ban-gen0-seed1"]
    networks = {plan.roles[f"demo-scratch-net{member}-seed1"] for member in range(4)}
    assert len(networks) == 4


def test_experiments_share_what_is_the_same():
    both = build_plan(["cifar100_tolerant", "cifar100_short"])
    assert len(both.of_kind("dataset")) == 1
    assert both.roles["cifar100_short-dataset-cifar100"] == both.roles["cifar100_tolerant-dataset-cifar100"]


def test_lineages_that_need_another_patriarch_do_not_share():
    plan = plan_of("+lineages.other.generations=1", "+lineages.other.recipe.epochs=3")
    assert plan.roles["demo-other-gen0-seed0"] != plan.roles["demo-ban-gen0-seed0"]


# Every file of config/


def members(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIG / group).glob("*.yaml"))


def content(group: str, name: str) -> dict:
    return yaml.safe_load((CONFIG / group / f"{name}.yaml").read_text())


# What leaves the demo one lineage.
ALONE = ("~lineages.ban", "~lineages.tolerant")
JOINT_OBJECTIVES = {"peers": "mutual", "branched": "one", "multi_exit": "own_teacher", "augmented": "netaug"}
OTHER = {None: "resnet8", "text": "lstm_small"}
FOR_TEXT = ("~lineages.ban", "~lineages.tolerant", "objective=ban_label", "network=lstm_small", "scratch=0", "transfer=[]")


def made_for(dataset: dict) -> tuple[str, ...]:
    """What the demo must be changed to, to be made of other data."""
    if dataset.get("medium") == "text":
        return (f"dataset={dataset.get('name', 'pydoc')}", "recipe=pydoc_lstm", *FOR_TEXT)
    return ("soft_labels=online", "recipe.pad=0", "recipe.flip=true") if dataset.get("on_disk") else ()


@pytest.mark.parametrize("name", members("dataset"))
def test_every_dataset_is_valid(name, elsewhere):
    file = content("dataset", name)
    assert file["name"] == name
    (elsewhere / "own").write_bytes(b"images")
    if file.get("on_disk"):
        (elsewhere / "own").unlink()
        (elsewhere / "own").mkdir()
    overrides = ("dataset.path=own",) if "path" in file else ()
    plan = plan_of(f"dataset={name}", *overrides, *made_for(file))
    step = plan.steps[plan.roles[f"demo-dataset-{name}"]]
    expected = {key: value for key, value in file.items() if key not in ("path", "superclasses")}
    assert {key: {**step.settings, **step.source}[key] for key in expected} == expected
    assert step.source == ({"path": "own"} if "path" in file else {})


@pytest.mark.parametrize("name", members("network"))
def test_every_network_is_valid(name):
    file = content("network", name)
    assert file["name"] == name
    medium = {"medium": file.get("medium"), "name": "pydoc"}
    chosen = [f"network={name}", "+patriarch.network=" + OTHER[file.get("medium")]]
    if "networks" in file:
        objective = f"{{name: {JOINT_OBJECTIVES[name]}, alone: kd}}"
        chosen = [*ALONE, f"lineages={{ban: {{objective: {objective}, network: {name}, patriarch: {{network: resnet8}}}}}}"]
    plan = plan_of(*(made_for(medium) if file.get("medium") else ()), *chosen)
    lineage = "ban_label" if file.get("medium") else "ban"
    found = shortened(settings_of(plan, f"demo-{lineage}-gen2-seed0")["network"])
    assert found == {key: value for key, value in file.items() if key != "takes"}


@pytest.mark.parametrize("name", members("objective"))
def test_every_objective_is_valid(name):
    file = content("objective", name)
    assert file["name"] == name
    patriarch = file["trains"] == "patriarch" or "alone" in file
    chosen = [f"patriarch.objective={name}" if patriarch else f"objective={name}"]
    if name in JOINT_OBJECTIVES.values():
        joint = next(network for network, objective in JOINT_OBJECTIVES.items() if objective == name)
        network = f"{{name: {joint}, networks: [{'resnet8, resnet8' if joint == 'peers' else 'resnet8'}]}}"
        chosen = [*ALONE, f"lineages={{ban: {{patriarch: {{objective: {name}, network: {network}}}}}}}"]
    plan = plan_of(*chosen)
    found = settings_of(plan, f"demo-ban-gen{0 if patriarch else 3}-seed0")["objective"]
    assert shortened(found) == shortened({**file, **({"terms": {"kd": {"weight": 1.0}}} if name == "sum" else {})})


@pytest.mark.parametrize("name", members("recipe"))
def test_every_recipe_is_valid(name):
    file = content("recipe", name)
    assert file["name"] == name
    lineage = "ban_label" if file.get("medium") else "tolerant"
    plan = plan_of(*(made_for({"medium": "text"}) if file.get("medium") else ()), f"recipe={name}")
    assert settings_of(plan, f"demo-{lineage}-gen1-seed2")["recipe"] == file


@pytest.mark.parametrize("name", members("experiment"))
def test_every_experiment_is_valid(name):
    file = content("experiment", name)
    plan = plan_of(experiment=name)
    assert plan.settings[name]["description"] == file["description"]
    seeds = file.get("seeds", [0])
    assert {found[1] for found in map(re.compile(r"-seed(\d+)$").search, plan.roles) if found} == {str(seed) for seed in seeds}
    assert f"{name}-tables" in plan.roles


@pytest.mark.parametrize("group", ["dataset", "network", "objective", "recipe"])
def test_every_group_has_members_with_a_target(group):
    """A recipe computes nothing by itself, nor does a sum; all others name the code that they are settings of."""
    files = [content(group, name) for name in members(group)]
    assert files
    assert all(("_target_" in file) == (group != "recipe" and file["name"] != "sum") for file in files)
