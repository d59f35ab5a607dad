"""The tables and figures of BAN and TT: what their plans train, and what each printed number is read from; and the smoke scale."""

import csv
import re
from collections import Counter

import pytest
import yaml

from gendistill.errors import SettingError
from gendistill.plan import build_plan
from gendistill.plan.settings import load_group, paper_names
from tests.conftest import ROOT

# One seed. A lineage of g generations is g + 1 networks.
NETWORKS = {
    "ban_icml2018_table1": 8 * 2,  # eight teachers, a student of each
    "ban_icml2018_table2": 3 * (4 + 3) + (3 + 3),  # teacher and 3 generations (80-120: 2); BAN+L, CWTM, DKPP; BAN is BAN-1
    "ban_icml2018_table3": 4 * (1 + 2),  # four teachers, a Wide-ResNet and a DenseNet student of each
    "ban_icml2018_table4": 1 + 7,  # a teacher, seven students
    "ban_icml2018_table5": 1 + 6 * 2,  # a teacher; six students and their baselines
    "ban_icml2018_table6": 2 * 2,  # two teachers, a student of each
    "ban_nips2017ws_table1": 3 * 4 + 3,  # teacher and 3 generations (80-120: 2)
    "ban_nips2017ws_table2": 1 + 6 * 2 + 7 + 2,  # as ICML Tables 4 and 5 together, with WRN-28-10 and WRN-28-20
    "tolerant_teachers_table1": 1 + 4,  # the 5th generation is not printed
    "tolerant_teachers_table2": 6 * (1 + 10),  # six patriarchs
    "tolerant_teachers_table3": 4 * (1 + 5),  # four of them
    "tolerant_teachers_table4": 2 * (1 + 2 * 6),  # two DenseNets: a baseline, two lineages of 5 generations
    "tolerant_teachers_table5": 1 + 6,  # a baseline, a lineage of 5 generations
    "tolerant_teachers_table6": 1 + 6,  # those of Table 5
    "tolerant_teachers_figure2": 3 * (2 + 4 * 5),  # three ResNets: two patriarchs, four times 5 generations
}
PAPERS = sorted(NETWORKS)
BAN, TT = ([name for name in PAPERS if name.startswith(start)] for start in ("ban_", "tolerant_teachers_"))
# New in each, of CIFAR-100: Tables 2 and 3 all; Tables 4 and 5 all but the teacher, which is in Table 2; workshop Table 1 all but
# the four teachers of Table 2; workshop Table 2 the 13 students, whose loss differs, and WRN-28-20. Then Table 1 (CIFAR-10) and
# Table 6.
ALL_BAN = 27 + 12 + 7 + 12 + 11 + (13 + 1) + 16 + 4
# Table 2 has all of Tables 1 and 3, and of Figure 2 two patriarchs and 5 generations. Table 6 has the networks of Table 5.
ALL_TT = 66 + (66 - 7) + 26 + 7
KINDS = ("patriarch", "generation", "language_patriarch", "language_generation")
# Printed values that are quoted: TT's competitors; error and parameters of Pre-activation ResNet-1001.
NOT_RUN = {"tolerant_teachers_table4": 6, "ban_icml2018_table5": 2, "ban_nips2017ws_table2": 2}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with stand-ins of the data sets that users must bring."""
    folder = tmp_path_factory.mktemp("workplace")
    for name in ("imagenet/train/n1/1.jpg", "imagenet/val/n1/1.jpg", "ptb/ptb.train.txt"):
        file = folder / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    return folder


@pytest.fixture(autouse=True)
def _there(workplace, monkeypatch):
    monkeypatch.chdir(workplace)


@pytest.fixture(scope="module")
def plan_of(workplace):
    """The plan of some papers, each built once."""
    plans = {}

    def build(*names, overrides=()):
        if (names, overrides) not in plans:
            plans[names, overrides] = build_plan(list(names), overrides)
        return plans[names, overrides]

    return build


def networks(plan):
    return [step for kind in KINDS for step in plan.of_kind(kind)]


def cells(plan, name, **wanted):
    """For each printed row with some columns, and each seed: the row, and the steps that our value is read from."""
    (table,) = [step for step in plan.of_kind("paper_table") if step.settings["table"] == name]
    rows = table.settings["rows"]
    read = [(rows[cell["row"]], [plan.steps[step] for step in cell["steps"]]) for cell in table.settings["cells"]]
    return [(row, steps) for row, steps in read if wanted.items() <= row.items()]


def only(plan, name, **wanted):
    """The one step that the one row with these columns is read from."""
    ((_, (step,)),) = cells(plan, name, **wanted)
    return step


def teacher_of(plan, student):
    """The network that teaches another."""
    name = student.inputs.get("teacher") or plan.steps[student.inputs["softlabels"]].inputs["teacher"]
    return plan.steps[name]


def role(plan, text):
    return plan.steps[plan.roles[text]]


def test_every_table_has_a_file(plan_of):
    tables = {path.stem for start in ("ban_", "tolerant_") for path in (ROOT / "config/reference").glob(f"{start}*.csv")}
    assert {name for name in paper_names() if name.startswith(("ban_", "tolerant_"))} == set(PAPERS)
    read = [name for paper in PAPERS for name in plan_of(paper).settings[paper]["table"]["reference"]]
    assert sorted(read) == sorted(tables)


@pytest.mark.parametrize("name", PAPERS)
def test_networks_of_a_table(plan_of, name):
    assert len(networks(plan_of(name))) == NETWORKS[name]


@pytest.mark.parametrize("name", PAPERS)
def test_a_table_is_as_large_in_smoke(plan_of, name):
    """Nothing that differs at full scale becomes the same, and only data that come with packages are used."""
    plan = plan_of(name, overrides=("scale=smoke",))
    assert Counter(step.kind for step in plan.steps.values()) == Counter(step.kind for step in plan_of(name).steps.values())
    data = {step.settings["name"] for kind in ("dataset", "text") for step in plan.of_kind(kind)}
    assert data <= {"mnist5k", "digits8x8", "pydoc"}
    assert len(cells(plan, name)) == len(cells(plan_of(name), name))


@pytest.mark.parametrize("name", [*(f"ban_icml2018_table{n}" for n in (4, 6)), *(f"tolerant_teachers_table{n}" for n in (3, 6))])
def test_three_seeds_are_three_times_the_networks(plan_of, name):
    plan = plan_of(name, overrides=("seeds=[0,1,2]",))
    assert Counter(step.settings["seed"] for step in networks(plan)) == dict.fromkeys(range(3), NETWORKS[name])
    assert len(cells(plan, name)) == 3 * len(cells(plan_of(name), name))


@pytest.mark.parametrize("name", PAPERS)
def test_each_printed_value_is_run_or_left_out_with_a_reason(plan_of, name):
    settings = plan_of(name).settings[name]["table"]
    printed = []
    for reference in settings["reference"]:
        with open(ROOT / f"config/reference/{reference}.csv", newline="", encoding="utf-8") as file:
            printed += [row["value"] for row in csv.DictReader(file)]
    (table,) = plan_of(name).of_kind("paper_table")
    run = [cell["row"] for cell in table.settings["cells"]]
    left_out = [entry["row"] for entry in table.settings["not_run"]]
    expected = [n for n, value in enumerate(printed) if value] or list(range(len(settings["rows"])))
    assert sorted(run + left_out) == expected
    assert len(left_out) == NOT_RUN.get(name, 0)


def test_a_row_that_no_cell_names_is_refused():
    with pytest.raises(SettingError, match=r"0 cells and 0 entries of table\.not_run name the row row = LSR"):
        build_plan(["tolerant_teachers_table3"], ("table.cells=[{for: {method: ban}, is: {lineage: ban}}]",))


def test_what_the_tables_share_is_trained_once(plan_of):
    """Steps of one name are one step, whichever paper asks for it."""
    trained = {name: {step.name for step in networks(plan_of(name))} for name in PAPERS}
    assert len(set().union(*(trained[name] for name in BAN))) == ALL_BAN
    assert len(set().union(*(trained[name] for name in TT))) == ALL_TT
    assert len(set().union(*trained.values())) == ALL_BAN + ALL_TT


def test_the_densenet_90_60_of_cifar100_is_one_network(plan_of):
    """The five tables that print 17.69 have one step for it: itself, or the teacher of the students that fit it."""
    found = [role(plan_of(name), f"{name}-densenet_90_60-gen0-seed0") for name in ("ban_icml2018_table2", "ban_nips2017ws_table1")]
    for name in ("ban_icml2018_table4", "ban_icml2018_table5", "ban_nips2017ws_table2"):
        found += [teacher_of(plan_of(name), student) for student in plan_of(name).of_kind("generation")]
    assert len({step.name for step in found}) == 1
    settings = found[0].settings["network"]
    # Each of three blocks adds 14 x 60 channels, each of three transitions halves what it gets: 120, 480, 660, 750.
    assert (settings["units"], settings["growth"], settings["first_width"], settings["last_width"]) == (14, 60, 120, 750)


def test_tolerant_teachers_tables_1_to_3_share_their_runs(plan_of):
    one, two, three = (f"tolerant_teachers_table{n}" for n in (1, 2, 3))
    plan = plan_of(one, two, three)
    assert len(networks(plan)) == 66  # those of Table 2
    # One for each network of Table 3; the first 5 of the lineage after the usual patriarch are those of Table 1.
    assert len(plan.of_kind("statistics")) == 24
    for k in range(5):
        assert len({plan.roles[f"{name}-ban-gen{k}-seed0-statistics"] for name in (one, three)}) == 1
    assert len(plan.of_kind("class_structure")) == 6
    for k in range(6):
        assert len({plan.roles[f"{name}-ban-gen{k}-seed0"] for name in (one, two, three)}) == 1


@pytest.mark.parametrize("name", ["tolerant_teachers_table2", "tolerant_teachers_figure2"])
def test_patriarchs_of_one_seed_differ_in_their_objective_only(plan_of, name):
    """So they start from the same weights, as TT says: these come from seed, generation and member."""
    patriarchs = [step.settings for step in plan_of(name).of_kind("patriarch")]
    groups = {}
    for step in patriarchs:
        groups.setdefault(step["network"]["depth"], []).append(step)
    for same in groups.values():
        assert len({str({key: value for key, value in step.items() if key != "objective"}) for step in same}) == 1
        assert len({str(step["objective"]) for step in same}) == len(same)
    assert {len(same) for same in groups.values()} == {6 if name.endswith("table2") else 2}


def test_patriarchs_and_lambda_of_tolerant_teachers(plan_of):
    plan = plan_of("tolerant_teachers_table2")
    expected = {"ban": ("cross_entropy", None), "lsr": ("label_smoothing", None), "cp": ("confidence_penalty", None)}
    expected |= {f"tsd_0{digit}": ("tsd", digit / 10) for digit in (6, 7, 8)}
    for key, (objective, u) in expected.items():
        settings = role(plan, f"tolerant_teachers_table2-{key}-gen0-seed0").settings["objective"]
        assert (settings["name"], settings.get("u")) == (objective, u)
    students = [step.settings["objective"] for step in plan.of_kind("generation")]
    assert {(objective["name"], objective["lambda"]) for objective in students} == {("tolerant", 0.6)}
    for row, steps in cells(plan, "tolerant_teachers_table2", metric="best_test_accuracy_pct"):
        assert [step.settings["generation"] for step in steps] == list(range(1, 11)), row


def test_figure_2_draws_d_of_u_and_lambda(plan_of):
    plan = plan_of("tolerant_teachers_figure2")
    name, depths = "tolerant_teachers_figure2", {"ResNet-20": 20, "ResNet-56": 56, "ResNet-110": 110}
    read = cells(plan, name)
    assert len(read) == 3 * (1 + 4 * 6)
    for row, (step,) in read:
        u, lambda_ = (float(number) for number in re.findall(r"[\d.]+", row["row"]))
        student = int(row["generation"])
        assert step.settings.get("generation", 0) == student
        assert step.settings["network"]["depth"] == depths[row["network"]]
        assert not student or step.settings["objective"]["lambda"] == lambda_
        for _ in range(student):
            step = teacher_of(plan, step)
        assert step.settings["objective"].get("u", 1.0) == u


@pytest.mark.parametrize("name", ["ban_icml2018_table2", "ban_nips2017ws_table1"])
def test_ensembles_of_ban(plan_of, name):
    plan = plan_of(name)
    for network in ("DenseNet-112-33", "DenseNet-90-60", "DenseNet-80-80", "DenseNet-80-120"):
        # The teacher is the third where no BAN-3 was trained.
        expected = {"ens*2": [1, 2], "ens*3": [0, 1, 2] if network == "DenseNet-80-120" else [1, 2, 3]}
        for method, generations in expected.items():
            members = [plan.steps[m].settings for m in only(plan, name, network=network, method=method).inputs["members"]]
            assert [settings.get("generation", 0) for settings in members] == generations
            (growth,) = {settings["network"]["growth"] for settings in members}
            assert growth == int(network.rpartition("-")[2])


def test_ensembles_of_tolerant_teachers_have_the_patriarch(plan_of):
    for name, metric in (("tolerant_teachers_table4", "test_error_pct_last_epoch"), ("tolerant_teachers_table5", "top1_error_pct")):
        plan = plan_of(name)
        for m in range(1, 6):
            for _, (step,) in cells(plan, name, method="d(0.6,0.6)+ensemble", generation=str(m), metric=metric):
                members = [plan.steps[member] for member in step.inputs["members"]]
                assert [member.settings.get("generation", 0) for member in members] == list(range(m + 1))
                assert members[0].settings["objective"]["u"] == 0.6


def test_the_loss_of_generations_of_ban(plan_of):
    """Discrepancy 2: teacher only in the ICML version, label and teacher in the workshop version."""
    for start, objective in (("ban_icml2018", "ban"), ("ban_nips2017ws", "ban_label_sum")):
        for table in ("table1",) if start == "ban_nips2017ws" else ("table1", "table3", "table4", "table5"):
            name = f"{start}_{table}"
            assert {s.settings["objective"]["name"] for s in plan_of(name).of_kind("generation")} == {objective}
    plan, name = plan_of("ban_icml2018_table2"), "ban_icml2018_table2"
    expected = {"ban": "ban", "ban-1": "ban", "ban-2": "ban", "ban-3": "ban", "ban+l": "ban_label", "cwtm": "cwtm", "dkpp": "dkpp"}
    for method, objective in expected.items():
        assert {s.settings["objective"]["name"] for _, (s,) in cells(plan, name, method=method)} == {objective}


def test_dense_students_of_wide_resnets(plan_of):
    plan, name = plan_of("ban_icml2018_table3"), "ban_icml2018_table3"
    read = cells(plan, name, network="DenseNet-90-60")
    assert len(read) == 4
    for row, (student,) in read:
        width = int(row["row"].rpartition("-")[2])
        teacher = teacher_of(plan, student).settings["network"]
        assert student.settings["network"]["growth"] == 60
        assert (teacher["depth"], teacher["width"], teacher["dropout"]) == (28, width, 0.3)


@pytest.mark.parametrize("overrides", [(), ("scale=smoke",)])
@pytest.mark.parametrize("name", ["ban_icml2018_table4", "ban_icml2018_table5", "ban_nips2017ws_table2"])
def test_students_of_a_densenet_fit_it(plan_of, name, overrides):
    """Their first and last layers are the teacher's, so these have equal shapes; baselines share nothing."""
    plan = plan_of(name, overrides=overrides)
    assert all(step.settings["network"].get("shares", []) == [] for step in plan.of_kind("patriarch"))
    for student in plan.of_kind("generation"):
        own, other = student.settings["network"], teacher_of(plan, student).settings["network"]
        assert own["shares"] == ["stem", "classifier"]
        assert teacher_of(plan, student).name == student.inputs["teacher"]
        if "teacher_units" in own:
            parts = [("teacher_units", "units"), ("teacher_growth", "growth"), ("teacher_first_width", "first_width")]
        else:
            parts = [("first_width", "first_width"), ("last_width", "last_width")]
        assert all(own[mine] == other[its] for mine, its in parts)
        # What a DenseNet's third transition leaves: half of what comes out of its third block.
        first, added = other["first_width"], other["units"] * other["growth"]
        assert other["last_width"] == (((first + added) // 2 + added) // 2 + added) // 2


def test_parameters_of_students_are_read_from_students(plan_of):
    for name, row in (("ban_icml2018_table4", "4*Depth"), ("ban_nips2017ws_table2", "Match-DenseNet-56-1-2")):
        step = only(plan_of(name), name, row=row, metric="params_millions")
        assert step.settings["network"]["name"] == "match_densenet_56_1_2"


def test_recipes_as_stated():
    with open(ROOT / "config/reference/recipes.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if "Tolerant" in row["paper"]]
    # The parts of the papers' experiments, and our recipes.
    for part, name in (("Figure 2, Tables 1-3", "cifar_tt"), ("Table 4", "cifar_densenet_tt"), ("(Table 5)", "imagenet_tt")):
        stated = {row["parameter"]: row["value"] for row in rows if part in row["experiment"]}
        recipe = load_group("recipe", name)
        assert recipe["nesterov"] and stated["optimizer"] == f"SGD with Nesterov momentum {recipe['momentum']}"
        for parameter, key in (("epochs", "epochs"), ("batch size", "batch_size"), ("weight decay", "weight_decay")):
            assert float(stated[parameter]) == recipe[key]
        assert float(stated["initial learning rate"]) == recipe["learning_rate"]
        drops = [int(number) for number in re.findall(r"\d+", stated["learning rate schedule"].partition("after")[2])]
        assert [round(share * recipe["epochs"]) for share in recipe["milestones"]] == drops
        assert recipe["factor"] == 0.1 and "divided by 10" in stated["learning rate schedule"]
    assert (load_group("recipe", "cifar_densenet_tt")["pad"], load_group("recipe", "imagenet_tt")["pad"]) == (4, 0)


# What recipes.csv says of an experiment, but a table has no use for.
OTHERS = {
    "loss": {"BAN+L weight of the two terms", "loss BAN-k in the sequence", "DKPP: permutation per sample, per batch or fixed"},
    "ensemble": {"ensemble: averaging of logits or of probabilities"},
    "table 5": {"loss of the BAN students of Table 5 (label term or not)"},
    "dropout": {"Wide-ResNet dropout rate", "dropout rate"},
    "patriarchs": {"LSR smoothing value", "CP penalty weight"},
}
EXPERIMENTS = {
    **{f"ban_icml2018_table{n}": ("ICML", "Tables 1-5", ("loss", "ensemble", "table 5")) for n in (1, 3)},
    "ban_icml2018_table2": ("ICML", "Tables 1-5", ("table 5", "dropout")),
    "ban_icml2018_table4": ("ICML", "Tables 1-5", ("loss", "ensemble", "table 5", "dropout")),
    "ban_icml2018_table5": ("ICML", "Tables 1-5", ("loss", "ensemble")),
    "ban_icml2018_table6": ("ICML", "Table 6", ()),
    "ban_nips2017ws_table1": ("workshop", "Tables 1-2", ("dropout",)),
    "ban_nips2017ws_table2": ("workshop", "Tables 1-2", ()),
    "tolerant_teachers_table1": ("Tolerant", "Figure 2", ("patriarchs",)),
    "tolerant_teachers_table2": ("Tolerant", "Figure 2", ()),
    "tolerant_teachers_table3": ("Tolerant", "Figure 2", ()),
    "tolerant_teachers_table4": ("Tolerant", "Table 4", ()),
    "tolerant_teachers_table5": ("Tolerant", "(Table 5)", ()),
    "tolerant_teachers_table6": ("Tolerant", "(Table 6)", ()),
    "tolerant_teachers_figure2": ("Tolerant", "Figure 2", ("patriarchs",)),
}


@pytest.mark.parametrize("name", PAPERS)
def test_what_a_paper_does_not_state_is_a_choice(plan_of, name):
    paper, part, left_out = EXPERIMENTS[name]
    with open(ROOT / "config/reference/recipes.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if paper in row["paper"] and part in row["experiment"]]
    silent = [row for row in rows if row["status"] in ("not_stated", "ambiguous")]
    assert silent
    # The language models of one table share names of parameters.
    models = {row["experiment"]: re.findall(r"PTB, (.*) \(", row["experiment"]) for row in silent}
    wanted = {": ".join([*models[row["experiment"]], row["parameter"]]) for row in silent}
    wanted -= set().union(*(OTHERS[part] for part in left_out))
    chosen = [choice["setting"] for choice in plan_of(name).settings[name]["table"]["choices"]]
    assert wanted - set(chosen) == set()
    assert len(chosen) == len(set(chosen))
    # No paper states what the recipes and losses here must.
    assert "precision" in chosen and any(setting.endswith("temperature") for setting in chosen)


def test_smoke_makes_each_network_small_and_none_the_same():
    small = yaml.safe_load((ROOT / "config/scale/smoke.yaml").read_text())["network"]
    names = [path.stem for path in (ROOT / "config/network").glob("*.yaml")]
    # The networks of a joint one are made smaller each for itself.
    assert sorted(small) == sorted(name for name in names if "networks" not in load_group("network", name))
    seen = {}
    for name, change in small.items():
        settings = load_group("network", name)
        assert set(change) <= set(settings), name
        key = str(sorted(({**settings, **change, "name": ""}).items()))
        assert seen.setdefault(key, name) == name
