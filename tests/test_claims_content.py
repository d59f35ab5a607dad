"""The claims in config/claims and the contradictions in config/reference/contradictions.yaml: as printed, and no more."""

import csv
import re
import textwrap
from collections import Counter
from itertools import chain, pairwise

import pytest
import yaml

from gendistill.plan import Plan
from gendistill.plan.build import add_experiment
from gendistill.plan.settings import compose_experiment
from tests.conftest import ROOT

REFERENCE, CLAIMS, PAPER = (ROOT / "config" / name for name in ("reference", "claims", "paper"))


def read_yaml(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def read_rows(name):
    with open(REFERENCE / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def matching(rows, wanted):
    """The rows whose columns are as wanted: equal, or one of a list."""
    allowed = {column: [str(v) for v in (value if isinstance(value, list) else [value])] for column, value in wanted.items()}
    return [row for row in rows if all(row[column] in values for column, values in allowed.items())]


OF_FILE = {path.stem: read_yaml(path) for path in sorted(CLAIMS.glob("*.yaml"))}
BY_NAME = {name: claim for claims in OF_FILE.values() for name, claim in claims.items()}
OF_PAPERS = [name for file in OF_FILE if file != "demo" for name in OF_FILE[file]]
STUDIES = {path.stem: read_yaml(path) for path in sorted(PAPER.glob("*.yaml"))}
LISTED = {name: file for file, study in STUDIES.items() for name in study.get("claims", [])}


def sides(name):
    """Of each comparison of a paper's claim: the direction, and the rows that its sides name, printed or of a figure."""
    table = STUDIES[LISTED[name]]["table"]
    rows = [*chain.from_iterable(read_rows(r) for r in table["reference"]), *({"value": "", **row} for row in table["rows"])]
    named = []
    for test in BY_NAME[name]["compare"]:
        found = [matching(rows, {**test[side], "metric": test["metric"]}) for side in ("first", "second")]
        named.append((test["is"], *found))
    return named


def test_names_are_unique():
    keys = [key for path in CLAIMS.glob("*.yaml") for key in re.findall(r"^(\w+):", path.read_text(encoding="utf-8"), re.MULTILINE)]
    assert [key for key, count in Counter(keys).items() if count > 1] == []
    assert set(keys) == set(BY_NAME)
    says = [claim["says"] for claim in BY_NAME.values()]
    assert len(set(says)) == len(says)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_claim_has_the_documented_form(name):
    claim = BY_NAME[name]
    assert set(claim) == {"says", "source", "compare"}
    assert claim["says"][0].isupper() and claim["says"].endswith(".") and ". " not in claim["says"]
    assert claim["compare"]
    for test in claim["compare"]:
        assert set(test) == {"metric", "first", "is", "second"}
        assert test["is"] in ("lower", "higher")
        assert test["first"] != test["second"]


def test_each_claim_of_a_paper_is_tested_on_the_one_table_that_it_names():
    assert sorted(name for study in STUDIES.values() for name in study.get("claims", [])) == sorted(OF_PAPERS)
    for name, file in LISTED.items():
        # "TT Table 4: DenseNets in generations ..." and "TT Table 4, last epochs"
        title = STUDIES[file]["description"].partition(":")[0]
        assert re.match(re.escape(title) + r"($|,)", BY_NAME[name]["source"]), f"{name} is tested on {file}"


@pytest.mark.parametrize("name", OF_PAPERS)
def test_each_side_names_one_row_that_is_run(name):
    not_run = STUDIES[LISTED[name]]["table"]["not_run"]
    for _, first, second in sides(name):
        assert (len(first), len(second)) == (1, 1)
        for row in (*first, *second):
            assert row["dataset"] in BY_NAME[name]["says"]
            assert not any(matching([row], entry["for"]) for entry in not_run)
        assert first != second


@pytest.mark.parametrize("name", OF_PAPERS)
def test_the_printed_numbers_have_the_claimed_direction(name):
    for direction, (first,), (second,) in sides(name):
        if not STUDIES[LISTED[name]]["table"]["reference"]:
            assert (first["value"], second["value"]) == ("", ""), "a figure, or a table of our own, prints no numbers"
            continue
        difference = float(first["value"]) - float(second["value"])
        assert difference < 0 if direction == "lower" else difference > 0


def test_table_6_prints_what_figure_2_is_said_to_show():
    """EKD Figure 2 prints no numbers, but one of its students is in Table 6, too."""
    ((_, (larger,), (best,)), _) = sides("ekd_larger_teachers_no_better_students")
    assert (larger["row"], best["row"]) == ("WRN16-1 | WRN16-8", "WRN16-1 | WRN16-3")
    of_student = {"network": "WRN-16-1", "method": "kd", "metric": "test_error_pct_mean"}
    printed = {row["row"]: row["value"] for row in matching(read_rows("efficacy_table6"), of_student)}
    assert (printed["Large→Small"], printed["Med.→Small"]) == ("8.03", "7.68")


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("ban_1_beats_its_teacher", "17.61 < 18.25"),
        ("ban_ensemble_beats_single_networks", "15.68 < 17.61, 15.68 < 17.22, 15.68 < 16.59"),
        ("tt_tolerant_patriarch_keeps_superclasses_together", "0.3461 < 0.3813, 0.5759 > 0.4202, 0.3153 < 0.3234, 0.5349 > 0.3881"),
        (
            "tt_tolerant_patriarch_worse_generations_better",
            "25.00 > 22.89, 21.34 < 22.89, 21.59 < 22.89, 20.99 < 22.89, 21.53 < 22.89, 21.61 < 22.89",
        ),
        ("tt_ensemble_beats_single_networks", "17.25 < 21.61, 17.25 < 22.89, 15.21 < 17.22, 15.21 < 17.62"),
        ("ekd_larger_teachers_no_better_students_imagenet", "30.79 > 30.57, 30.95 > 30.79"),
        ("ekd_ensembles_from_scratch_beat_generations", "12.786 > 10.176, 8.653 > 6.675, 5.181 > 4.865, 5.310 > 5.003"),
        ("ekd_early_stopped_kd_beats_full_kd", "29.01 < 30.57, 29.16 < 30.79, 29.35 < 30.95"),
        ("ekd_early_stopped_kd_transfers_better", "47.14 < 47.86, 47.02 < 47.92"),
        ("one_beats_training_from_scratch_svhn", "1.83 < 2.11, 1.76 < 2.00, 1.70 < 1.83, 1.63 < 1.73"),
        ("byot_ensemble_beats_deepest_exit", "68.54 > 67.73, 79.67 > 78.64, 81.04 > 80.56, 82.03 > 81.23, 82.29 > 81.61"),
        ("netaug_beats_baseline_imagenet", "57.8 > 56.3, 60.3 > 58.1, 57.8 > 57.5"),
    ],
)
def test_the_rows_of_main_claims(name, printed):
    """By hand: the rows are those that the sentence is about."""
    signs = {"lower": "<", "higher": ">"}
    assert ", ".join(f"{a['value']} {signs[direction]} {b['value']}" for direction, (a,), (b,) in sides(name)) == printed


def test_claims_of_the_demo_name_cells_of_the_demo():
    plan = Plan()
    add_experiment(plan, "demo", {**compose_experiment("demo"), "claims": list(OF_FILE["demo"])})
    (step,) = plan.of_kind("claims")
    claims = {claim["name"]: claim["comparisons"] for claim in step.settings["claims"]}
    assert list(claims) == list(OF_FILE["demo"])

    def step_of(name, side):
        """The step that the first seed of a side is read from."""
        return plan.steps[claims[name][0][side]["cells"][0]["steps"][0]]

    # The patriarch of ban is the one trained on labels, that of tolerant the other.
    patriarchs = [step_of("demo_tolerant_patriarch_is_worse", side) for side in ("first", "second")]
    assert [step.settings["objective"]["name"] for step in patriarchs] == ["tsd", "cross_entropy"]
    # The ensembles have cost the same.
    ensembles = [step_of("demo_ensemble_from_scratch_beats_generations", side) for side in ("first", "second")]
    assert [len(step.inputs["members"]) for step in ensembles] == [4, 4]


def test_the_readme_shows_a_claim_as_it_is():
    text = (CLAIMS / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"\n\n((?:    .*\n)+)\n", text)
    shown = yaml.safe_load(textwrap.dedent(example))
    assert shown == {name: BY_NAME[name] for name in shown}


def by_discrepancy():
    """The entries under each number of a discrepancy, with what README.md says of it."""
    parts = re.split(r"^# (\d+)\n", (REFERENCE / "contradictions.yaml").read_text(encoding="utf-8"), flags=re.MULTILINE)
    told = dict(re.findall(r"^(\d+)\. (.+)$", (REFERENCE / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    return [(number, yaml.safe_load(part), told[number]) for number, part in zip(parts[1::2], parts[2::2], strict=True)]


ENTRIES = [(number, entry, told) for number, entries, told in by_discrepancy() for entry in entries]


def test_every_discrepancy_is_a_contradiction():
    numbers = [number for number, _, _ in by_discrepancy()]
    assert numbers == [str(n) for n in range(1, 20)]
    assert read_yaml(REFERENCE / "contradictions.yaml") == [entry for _, entry, _ in ENTRIES]


@pytest.mark.parametrize("entry", [entry for _, entry, _ in ENTRIES], ids=[entry["text"][:40] for _, entry, _ in ENTRIES])
def test_a_contradiction_is_a_footnote_of_rows_that_are_there(entry):
    assert {"tables", "text"} <= set(entry) <= {"tables", "rows", "text"}
    assert len(entry["text"]) < 350 and entry["text"][0].isupper() and entry["text"].endswith(".")
    assert len(set(entry["tables"])) == len(entry["tables"]) > 0
    for table in entry["tables"]:
        rows = read_rows(table)
        assert matching(rows, entry.get("rows", {})), table
        for column, wanted in entry.get("rows", {}).items():
            assert column in rows[0]
            for value in wanted if isinstance(wanted, list) else [wanted]:
                assert any(matching(read_rows(t), {column: value}) for t in entry["tables"]), f"{column} = {value}"


@pytest.mark.parametrize(("number", "entry", "told"), ENTRIES, ids=[entry["text"][:40] for _, entry, _ in ENTRIES])
def test_numbers_of_a_contradiction_are_printed_or_told(number, entry, told):
    """A number with a decimal point is a value of the tables that the footnote belongs to, or is in the discrepancy's text."""
    values = {row["value"] for table in entry["tables"] for row in read_rows(table)}
    decimals = r"\d+\.\d+"
    assert set(re.findall(decimals, entry["text"])) <= values | set(re.findall(decimals, told))


def test_numbers_that_follow_from_printed_ones():
    def value(table, **wanted):
        (row,) = matching(read_rows(table), wanted)
        return float(row["value"])

    def of(number, start):
        (text,) = [entry["text"] for n, entry, _ in ENTRIES if n == number and entry["text"].startswith(start)]
        return text

    top1 = {"dataset": "ImageNet", "generation": 0}
    for table, metric in (("tolerant_teachers_table5", "top1_error_pct"), ("tolerant_teachers_table6", "top1_accuracy_pct")):
        patriarch = value(table, **top1, metric=metric, method="d(0.6,0.6)")
        assert abs(patriarch - value(table, **top1, metric=metric, method="baseline")) == pytest.approx(2.02)
    assert "2.02" in of("11", "Footnote 6")
    scores = [value("tolerant_teachers_table3", method="tsd-0.6", generation=g) for g in range(6)]
    factors = [(100 - after) / (100 - before) for before, after in pairwise(scores)]
    assert f"{min(factors):.2f} to {max(factors):.2f} after TSD-0.6" in of("12", "At its minimum")
    table, densenet = "tolerant_teachers_table4", {"network": "DenseNet-100"}
    last = value(table, **densenet, method="baseline", generation=0, metric="test_error_pct_last_epoch")
    best = value(table, **densenet, method="baseline", generation=0, metric="test_error_pct_best_epoch")
    ensemble = value(table, **densenet, method="d(0.6,0.6)+ensemble", generation=5, metric="test_error_pct_last_epoch")
    text = of("13", "The text says")
    assert f"{last - ensemble:.2f} better than the baseline's last" in text
    assert f"{best - ensemble:.2f} better than its best" in text
    one, eskd = value("efficacy_table8", row="3 Branches"), value("efficacy_table8", row="ResNet18", method="eskd")
    assert f"{one - eskd:.2f} (" in of("16", "The text says")
