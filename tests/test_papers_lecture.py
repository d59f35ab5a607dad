"""The tables of the lecture's papers, of RepDistiller and of all methods: what they train, and where each number is read."""

import copy
import csv
import functools
import re
from collections import Counter

import pytest
import yaml

from gendistill.errors import SettingError
from gendistill.plan import Plan, build_plan
from gendistill.plan.build import add_experiment
from gendistill.plan.settings import compose_experiment
from gendistill.training.schedule import learning_rate
from tests.conftest import ROOT

OF_LECTURE = ["dml_table2", "one_table1", "byot_table1", "netaug_table4"]
PAPERS = [*OF_LECTURE, "repdistiller", "what_to_match"]
# Runs that train something: of several networks together, one.
TRAINED = {
    "dml_table2": 2 * (3 + 6),  # two data sets: three networks alone, six pairs
    "one_table1": 3 * 3 * (4 + 4),  # three seeds, three data sets: four networks from scratch, four with branches
    "byot_table1": 8 + 8,  # eight networks alone, eight with exits
    "netaug_table4": (3 + 3) + (1 + 3) + 1,  # MobileNetV2: three lengths; KD, NetAug, both; MobileNetV3: one; a teacher for both
    "repdistiller": 5 * (5 + 6 + 7 * 8 - 1),  # teachers, students from scratch, seven pairs by eight methods but for one N/A
    "what_to_match": 5 * (1 + 7 + 15 + 4 + 1),  # teacher; labels only; students; peers, branches, exits, NetAug; NetAug + KD
}
SEEDS = {"one_table1": 3, "repdistiller": 5, "what_to_match": 5}
# Printed numbers that have none of ours.
NOT_RUN = {
    "byot_table1": 2 * 6 + 3 * 4,  # two networks; three exits and the ensemble of three others
    "netaug_table4": 2 * (6 + 4) - 2,  # detection, two of whose cells are dashes
    "repdistiller": 6 * 7,  # SP, CC, VID, PKT, CRD, CRD + KD
}


@pytest.fixture(scope="module")
def plan_of():
    """The plan of a paper, each built once."""
    return functools.cache(lambda name: build_plan([name], without_data=True))


def trained(plan):
    return plan.of_kind("patriarch") + plan.of_kind("generation")


def cells_of(plan):
    (table,) = plan.of_kind("paper_table")
    return table.settings["cells"]


def cells(plan):
    """For each number of ours: the row, and the steps that it is read from."""
    (table,) = plan.of_kind("paper_table")
    return [(table.settings["rows"][cell["row"]], [plan.steps[step] for step in cell["steps"]]) for cell in cells_of(plan)]


def one_network(step):
    """The name of the network that a step gives: of several trained together the one that is taken out."""
    network = step.settings["network"]
    if step.kind != "member" or step.settings["taken"] == "ensemble":
        return network["name"]
    number = re.fullmatch(r"peer(\d)", step.settings["taken"])
    return network["networks"][int(number[1]) - 1 if number else 0]["name"]


def plain(name):
    return re.sub(r"[^a-z0-9]", "", name.lower())


@pytest.mark.parametrize("name", PAPERS)
def test_the_plan_trains_the_networks_of_the_table(plan_of, name):
    assert len(trained(plan_of(name))) == TRAINED[name]


@pytest.mark.parametrize("name", PAPERS)
def test_each_printed_number_is_run_or_says_why_not(plan_of, name):
    plan = plan_of(name)
    (table,) = plan.of_kind("paper_table")
    rows = table.settings["rows"]
    left_out = {entry["row"] for entry in table.settings["not_run"] if rows[entry["row"]]["value"]}
    assert len(left_out) == NOT_RUN.get(name, 0)
    printed = [n for n, row in enumerate(rows) if row["value"] or name == "what_to_match"]
    run = Counter(n for n in printed if n not in left_out for _ in range(SEEDS.get(name, 1)))
    assert Counter(cell["row"] for cell in table.settings["cells"]) == run


@pytest.mark.parametrize("name", PAPERS)
def test_the_smallest_scale_has_the_same_numbers_without_any_data(plan_of, name):
    smoke = build_plan([name], ("scale=smoke",))
    own, full = ([(c["row"], c["seed"], c["key"]) for c in cells_of(plan)] for plan in (smoke, plan_of(name)))
    assert own == full
    assert {step.settings["name"] for step in smoke.of_kind("dataset")} <= {"mnist5k", "digits8x8"}


def test_peers_are_told_apart_by_their_row(plan_of):
    """Net 1 goes on in the lineage, Net 2 is taken out beside it; each gain is over the same network alone on the same data."""
    plan, seen = plan_of("dml_table2"), Counter()
    for row, steps in cells(plan):
        *before, own = steps
        data = plan.steps[own.inputs["dataset"]].settings["name"]
        assert (one_network(own).replace("_", ""), data) == (plain(row["network"]), plain(row["dataset"])), row
        if row["method"] == "independent":
            assert own.kind == "patriarch"
            continue
        assert own.settings["taken"] == f"peer{row['row'][-1]}"
        pair = [network["name"].replace("_", "") for network in own.settings["network"]["networks"]]
        assert pair == [plain(part) for part in row["row"].split(" | ")[:2]], row
        seen[row["method"]] += 1
        if row["method"] == "dml-ind":
            (alone,) = before
            assert (alone.kind, one_network(alone)) == ("patriarch", one_network(own))
            assert alone.inputs["dataset"] == own.inputs["dataset"]
    assert seen == {"dml": 24, "dml-ind": 24}


def test_branches_and_exits_are_read_from_the_right_member(plan_of):
    for row, (step,) in cells(plan_of("one_table1")):
        assert step.kind == ("member" if "ONE" in row["row"] else "patriarch")
        assert step.settings.get("taken", "single") == "single"
    for row, (step,) in cells(plan_of("byot_table1")):
        if row["method"] == "baseline":
            assert step.kind == "patriarch"
            continue
        count = len(step.settings["network"]["networks"][0]["reductions"])
        part = re.match(r"classifier-(\d)/4", row["method"])
        assert step.settings["taken"] == (f"exit{part[1] if part[1] != '4' else count}" if part else "ensemble"), row


def test_a_tiny_network_is_fine_tuned_as_it_was_pre_trained(plan_of):
    """By hand, from the scripts of NetAug's repository: four times the rate that they print for one of 4 GPUs, and the dropout."""
    rates = {
        "V2": {"food101": (0.4, 0.2), "flowers102": (0.32, 0.3), "cars": (0.72, 0.5), "cub200": (0.08, 0.7), "pets": (0.04, 0.4)},
        "V3": {"food101": (0.8, 0.2), "flowers102": (0.2, 0.6), "cars": (0.4, 0.7), "cub200": (0.08, 0.8), "pets": (0.04, 0.8)},
    }
    plan, tuned = plan_of("netaug_table4"), 0
    for row, (step,) in cells(plan):
        start = plan.steps[step.inputs["start"]] if step.kind == "fine_tune" else step
        joint = "netaug" in row["method"]
        assert start.kind == "member" if joint else start.kind != "member"
        training = plan.steps[start.inputs["joint"]] if joint else start
        assert training.kind == ("generation" if "kd" in row["method"] else "patriarch")
        epochs = re.search(r"baseline-(\d+)", row["method"])
        assert start.settings["recipe"]["epochs"] == (int(epochs[1]) if epochs else 150)
        if step.kind == "fine_tune":
            tuned += 1
            data = plan.steps[step.inputs["dataset"]].settings
            recipe = step.settings["recipe"]
            kind = row["network"][9:11]
            assert data["name"] == row["dataset"].lower()
            assert (recipe["learning_rate"], recipe["dropout"]) == rates[kind][data["name"]]
            assert recipe["weight_decay"] == {"V2": 4e-5, "V3": 3e-5}[kind]
    assert tuned == 5 * (6 + 4)


def test_repdistillers_pairs_and_the_weights_of_its_scripts(plan_of):
    """By hand, from its scripts/run_cifar_distill.sh; losses of ours that have a half in front have twice the weight."""
    weights = {
        "kd": ("kd", {"alpha": 0.9, "temperature": 4.0, "alpha_weighs": "teacher"}),
        "fitnet": ("fitnets", {"beta": 200.0, "lambda": 0.0, "first_stage": 0.0, "label_weight": 1.0}),
        "at": ("attention_transfer", {"beta": 1000.0}),
        "rkd": ("rkd", {"distance_weight": 25.0, "angle_weight": 50.0, "label_weight": 1.0}),
        "ab": ("activation_boundaries", {"first_stage": 30 / 240, "lambda": 0.0, "beta": 0.0, "label_weight": 1.0}),
        "ft": ("factor_transfer", {"first_stage": 30 / 240, "beta": 200.0, "label_weight": 1.0}),
        "fsp": ("fsp", {"first_stage": 30 / 240, "beta": 0.0, "taps": "stem_and_groups"}),
        "nst": ("nst", {"kernel": "polynomial", "lambda": 100.0, "taps": "groups"}),
    }
    plan, seen = plan_of("repdistiller"), Counter()
    for row, (step,) in cells(plan):
        teacher, student = (plain(part) for part in row["network"].split(" → "))
        assert plain(step.settings["network"]["name"]).removesuffix("b") == (teacher if row["method"] == "teacher" else student)
        seen[row["method"]] += 1
        if row["method"] in ("teacher", "scratch"):
            assert step.kind == "patriarch"
            continue
        name, settings = weights[row["method"]]
        assert step.settings["objective"]["name"] == name
        assert settings.items() <= step.settings["objective"].items(), row
        source = plan.steps[step.inputs["softlabels"]] if "softlabels" in step.inputs else step
        assert plain(plan.steps[source.inputs["teacher"]].settings["network"]["name"]).removesuffix("b") == teacher
    assert seen == {**dict.fromkeys(("teacher", "scratch", *weights), 7 * 5), "fsp": 6 * 5}


def test_what_to_match_has_every_method_of_the_lecture(plan_of):
    plan = plan_of("what_to_match")
    names = {step.settings["objective"]["name"] for step in trained(plan)}
    assert names == {
        *("cross_entropy", "l2_logits", "ban", "kd", "fitnets_weights", "fitnets", "nst", "factor_transfer", "attention_transfer"),
        *("attention_gradient", "activation_boundaries", "fsp", "rkd", "sum", "mutual", "one", "own_teacher", "netaug"),
    }
    kernels = [step.settings["objective"].get("kernel") for step in trained(plan)]
    assert set(kernels) == {None, "linear", "polynomial", "gaussian"}
    (combined,) = {tuple(s.settings["objective"]["terms"]) for s in trained(plan) if "terms" in s.settings["objective"]}
    assert combined == ("kd", "rkd")
    tricks = ("cutout", "mixup", "auto_augment", "dropout", "spatial_dropout", "drop_block")
    recipes = [step.settings["recipe"] for step in trained(plan)]
    assert all(any(recipe.get(trick) for recipe in recipes) for trick in tricks)
    # Labels are counted once in the sum.
    objective = next(s.settings["objective"] for s in trained(plan) if "terms" in s.settings["objective"])
    assert objective["terms"]["rkd"]["label_weight"] == 0


def test_each_number_of_what_to_match_is_of_another_run_and_of_a_resnet_8(plan_of):
    plan = plan_of("what_to_match")
    own = cells(plan)
    assert len({steps[0].name for _, steps in own}) == len(own) == 5 * 33
    for row, (step,) in own:
        network = step.settings["network"]
        assert {each["name"] for each in network.get("networks", [network])} == {plain(row["network"])}


@pytest.mark.parametrize(
    ("recipe", "epochs", "first", "drops"),
    [
        ("cifar_repdistiller", 240, 0.05, [150, 180, 210]),
        ("cifar_dml", 200, 0.1, [60, 120, 180]),
        ("cifar_one", 300, 0.1, [150, 225]),
        ("cifar_byot", 200, 0.1, [75, 130, 180]),
    ],
)
def test_the_rate_is_divided_by_10_at_the_stated_epochs(recipe, epochs, first, drops):
    settings = yaml.safe_load((ROOT / "config/recipe" / f"{recipe}.yaml").read_text())
    assert settings["epochs"] == epochs
    rates = [learning_rate(settings, epoch, epoch / epochs) for epoch in range(epochs)]
    assert rates[0] == first
    assert [n for n in range(1, epochs) if rates[n] != rates[n - 1]] == drops
    assert rates[-1] == pytest.approx(first * 0.1 ** len(drops))


@pytest.mark.parametrize("name", [*OF_LECTURE, "repdistiller"])
def test_what_the_lecture_does_not_state_is_a_named_choice(plan_of, name):
    with open(ROOT / "config/reference" / f"{name}.csv", encoding="utf-8", newline="") as file:
        paper = next(csv.DictReader(file))["paper"]
    with open(ROOT / "config/reference/recipes.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["paper"] == paper and not row["experiment"].startswith("Market")]
    unsaid = {row["parameter"] for row in rows if row["status"] in ("ambiguous", "not_stated")}
    choices = [choice["setting"] for choice in plan_of(name).settings[name]["table"]["choices"]]
    assert unsaid and unsaid <= set(choices)
    assert {"reported epoch", "input normalisation", "precision"} <= set(choices)
    assert len(set(choices)) == len(choices)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            {"member": "peer3"},
            "member = peer3: there is no such member of resnet_32_resnet_32_cifar_10-gen0-seed0. Allowed: peer1, peer2",
        ),
        ({"lineage": "resnet_32_cifar_10", "member": "peer2"}, "resnet_32_cifar_10-gen0-seed0. resnet32 is a single network"),
        ({"over": "resnet_32"}, "over = resnet_32: there is no such lineage"),
        ({"over": None}, "top1_accuracy_gain_points cannot be had from"),
        ({"ensemble": "0..0", "member": None}, "top1_accuracy_gain_points cannot be had from"),
        ({"ensemble": "0..0"}, "a cell is one thing, not several"),
    ],
)
def test_a_gain_or_a_member_that_cannot_be(source, message):
    settings = copy.deepcopy(compose_experiment("dml_table2"))
    cell = next(c for c in settings["table"]["cells"] if c["for"].get("method") == "dml-ind" and "member" in c["is"])
    cell["is"] = {key: value for key, value in {**cell["is"], "lineage": "resnet_32_resnet_32_cifar_10", **source}.items() if value}
    settings["claims"] = []
    with pytest.raises(SettingError, match=re.escape(message)):
        add_experiment(Plan(), "dml_table2", settings)


def test_the_best_epoch_is_that_of_the_network_that_answers():
    settings = copy.deepcopy(compose_experiment("what_to_match"))
    settings["lineages"] = {key: settings["lineages"][key] for key in ("kd", "dml_first")}
    first = next(row for row in settings["table"]["rows"] if row["method"] == "DML, first")
    settings["table"] |= {"rows": [first | {"metric": "test_error_pct_best_epoch"}]}
    settings["table"]["cells"] = [{"for": {"method": "DML, first"}, "is": {"lineage": "dml_first"}}]
    settings["claims"] = []
    plan = Plan()
    add_experiment(plan, "what_to_match", settings)
    assert {cell["key"] for cell in cells_of(plan)} == {"best_epoch_test_error_pct"}
    settings["lineages"]["dml_first"]["patriarch"]["network"]["takes"] = "peer2"
    with pytest.raises(
        SettingError, match=r"test_error_pct_best_epoch: .* network that answers .* network.takes = peer2 is another"
    ):
        add_experiment(Plan(), "what_to_match", settings)
