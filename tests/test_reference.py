"""The published numbers in config/reference: whole, readable, and as printed."""

import csv
import re
from collections import Counter

import pytest

from tests.conftest import ROOT

REFERENCE = ROOT / "config/reference"
COLUMNS = ["paper", "table", "row", "network", "dataset", "method", "generation", "metric", "value", "spread", "note"]
RECIPE_COLUMNS = ["paper", "experiment", "parameter", "value", "status", "note"]
# How many tables each paper has: Table 2 of the ICML paper is printed as two.
TABLES = {"ban_icml2018": 7, "ban_nips2017ws": 2, "tolerant_teachers": 6, "efficacy": 10}
TABLES |= dict.fromkeys(("dml", "one", "byot", "netaug"), 1)
METRICS = {
    *("test_error_pct", "test_error_pct_best_epoch", "test_error_pct_last_epoch", "test_error_pct_median", "test_error_pct_mean"),
    *("top1_error_pct", "top5_error_pct", "top1_accuracy_pct", "top5_accuracy_pct"),
    *("train_accuracy_pct", "test_accuracy_pct", "best_test_accuracy_pct"),
    *("perplexity_val", "perplexity_test", "params_millions"),
    *(f"confidence_top{k}_pct" for k in (1, 2, 3, 4)),
    *("dist_c_train", "dist_c_test", "dist_s_train", "dist_s_test"),
    *("top1_accuracy_gain_points", "ap50_pct"),
    *("kd_error_train_pct", "kd_error_test_pct", "ce_loss_train", "kd_loss_train", "kd_loss_test"),
}
CELL = ("row", "network", "dataset", "method", "generation", "metric", "note")


def read(name):
    with open(REFERENCE / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def names(prefix=""):
    return sorted(path.name for path in REFERENCE.glob(f"{prefix}*.csv") if path.name != "recipes.csv")


@pytest.fixture(scope="module")
def cells():
    """Every printed cell of every table, by file."""
    return {name: read(name) for name in names()}


def test_every_table_is_there():
    assert {paper: len(names(f"{paper}_table")) for paper in TABLES} == TABLES
    assert len(names()) == sum(TABLES.values()) + len(["repdistiller.csv"])


@pytest.mark.parametrize("name", names())
def test_a_table_has_the_documented_form(name):
    text = (REFERENCE / name).read_bytes()
    assert b"\r" not in text
    assert text.endswith(b"\n")
    rows = read(name)
    assert list(rows[0]) == COLUMNS
    assert rows
    for row in rows:
        assert None not in row and None not in row.values(), f"a row with too many or too few cells: {row}"
        assert row["metric"] in METRICS
        assert row["generation"] in ("", *"012345")
        assert row["paper"] and row["table"] and (row["dataset"] or row["metric"] == "params_millions")
        assert row["row"] or "row label lost" in row["note"]
    assert len({(row["paper"], row["table"]) for row in rows}) == 1


@pytest.mark.parametrize("name", names())
def test_values_are_numbers_or_explained(name):
    for row in read(name):
        for column in ("value", "spread"):
            assert re.fullmatch(r"(\d+(\.\d+)?)?", row[column]), row
        assert row["value"] or "printed" in row["note"], f"empty without a reason: {row}"
        assert row["value"] or not row["spread"]


@pytest.mark.parametrize("name", names())
def test_no_cell_is_there_twice(name):
    """A model that a table prints twice has two rows, or two columns that the note names."""
    counts = Counter(tuple(row[column] for column in CELL) for row in read(name))
    assert [cell for cell, count in counts.items() if count > 1] == []


def test_shares_lie_between_0_and_100(cells):
    for rows in cells.values():
        for row in rows:
            if row["value"] and "_pct" in row["metric"]:
                assert 0 <= float(row["value"]) <= 100, row


@pytest.mark.parametrize(
    ("name", "wanted", "value"),
    [
        ("ban_icml2018_table1", {"network": "WRN-28-1", "method": "ban", "metric": "test_error_pct"}, "6.64"),
        ("ban_icml2018_table2_left", {"network": "DenseNet-112-33", "method": "cwtm"}, "17.84"),
        ("ban_icml2018_table2_right", {"network": "DenseNet-112-33", "method": "ban-3"}, "16.59"),
        ("tolerant_teachers_table1", {"generation": "0", "metric": "confidence_top1_pct"}, "99.28"),
        ("tolerant_teachers_table2", {"method": "tsd-0.6", "metric": "dist_s_train"}, "0.5759"),
        ("tolerant_teachers_table2", {"method": "ban", "metric": "dist_c_test"}, "0.3234"),
        ("efficacy_table2", {"network": "WRN-16-1", "row": "WRN16-1 | WRN16-8", "metric": "kd_error_test_pct"}, "7.01"),
        ("efficacy_table3", {"row": "ResNet50 (ES KD)", "metric": "kd_loss_test"}, "2.940"),
        ("efficacy_table3", {"row": "ResNet18", "metric": "ce_loss_train"}, "0.146"),
        ("dml_table2", {"row": "WRN-28-10 | MobileNet | Net 2", "dataset": "CIFAR-100", "method": "dml-ind"}, "3.74"),
        ("one_table1", {"row": "ResNet-32 + ONE", "dataset": "CIFAR-100"}, "26.61"),
        ("byot_table1", {"row": "VGG19(BN)", "method": "classifier-4/4"}, "67.73"),
        ("netaug_table4", {"network": "MobileNetV3 w0.35 r160", "dataset": "Cub200", "method": "netaug+kd"}, "70.5"),
        ("repdistiller", {"network": "VGG-13 → VGG-8", "method": "kd"}, "72.98"),
    ],
)
def test_values_as_printed(cells, name, wanted, value):
    found = [row["value"] for row in cells[f"{name}.csv"] if wanted.items() <= row.items()]
    assert found == [value]


def test_contradictions_between_tables_are_kept(cells):
    """Discrepancies 3 and 5 of the README: nothing is corrected."""

    def value(name, **wanted):
        return [row["value"] for row in cells[name] if wanted.items() <= row.items()]

    of_teacher = {"network": "WRN-28-10", "dataset": "CIFAR-100", "metric": "test_error_pct"}
    assert value("ban_icml2018_table3.csv", **of_teacher, method="teacher") == ["19.08"]
    assert value("ban_nips2017ws_table2.csv", **of_teacher, method="baseline") == ["18.63"]
    of_densenet = {"network": "DenseNet-90-60", "metric": "params_millions"}
    assert value("ban_icml2018_table4.csv", **of_densenet) == ["22.4"]
    assert set(value("ban_icml2018_table1.csv", **of_densenet)) == {"16.1"}


def test_gains_of_mutual_learning_are_differences_of_printed_accuracies(cells):
    found = {}
    for row in cells["dml_table2.csv"]:
        found.setdefault((row["row"], row["dataset"]), {})[row["method"]] = float(row["value"])
    assert len(found) == 6 * 2 * 2
    for printed in found.values():
        assert printed["dml"] - printed["independent"] == pytest.approx(printed["dml-ind"], abs=0.001)


def test_recipes_have_the_documented_form():
    rows = read("recipes.csv")
    assert list(rows[0]) == RECIPE_COLUMNS
    allowed = {"stated", "by_reference", "derived", "ambiguous", "not_stated"}
    for row in rows:
        assert None not in row and None not in row.values(), row
        assert row["status"] in allowed
        assert bool(row["value"]) == (row["status"] != "not_stated"), row
    papers = {row["paper"] for row in rows}
    assert {row["paper"] for name in names() for row in read(name)} <= papers


def test_recipes_as_stated():
    rows = {(row["experiment"], row["parameter"]): row["value"] for row in read("recipes.csv") if "Tolerant" in row["paper"]}
    resnets = "CIFAR-100, ResNet-20/56/110 (Figure 2, Tables 1-3)"
    assert rows[resnets, "epochs"] == "164"
    assert rows[resnets, "learning rate schedule"] == "divided by 10 after 82 and 123 epochs"


def test_the_readme_documents_what_is_there(cells):
    text = (REFERENCE / "README.md").read_text(encoding="utf-8")
    assert [int(n) for n in re.findall(r"^(\d+)\. ", text, re.MULTILINE)] == list(range(1, 20))
    assert all(f"`{paper}_`" in text for paper in TABLES) and "`repdistiller`" in text
    documented = set(re.findall(r"`([^`]+)`", text))
    assert set(COLUMNS) <= documented
    methods = {row["method"] for rows in cells.values() for row in rows} - {""}
    patterns = r"tsd-.*|d\(.*\)|d\(.*\)\+ensemble|.*-ensemble|ban-2|classifier-./4|baseline-\d+"
    by_pattern = {m for m in methods if re.fullmatch(patterns, m)}
    assert methods - by_pattern - documented == set()
    assert "lecture_" not in text
