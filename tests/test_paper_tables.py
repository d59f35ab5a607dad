"""Published tables: which runs a printed cell asks for, and how our numbers are set beside the published ones."""

import copy
import json
import statistics

import pytest

from gendistill.errors import SettingError, UserError
from gendistill.plan import Plan, build_plan, paper, read_choice
from gendistill.plan.build import add_experiment
from gendistill.plan.cells import slug
from gendistill.plan.layout import matches
from gendistill.plan.paper import read_reference
from gendistill.plan.settings import compose_experiment, paper_names
from gendistill.results.paper_report import paper_markdown
from gendistill.results.paper_table import in_form, make_paper_table, summarise, value_at
from gendistill.results.wide import Cell, lines, wide
from gendistill.runtime import Runtime

NAME = "tolerant_teachers_table1"


def plan_with(**changes):
    """The plan of a small table, with changes to its settings `table`, and without its claims, which are on the table as it is."""
    settings = copy.deepcopy(compose_experiment(NAME))
    settings["table"], settings["claims"] = {**settings["table"], **changes}, []
    plan = Plan()
    add_experiment(plan, NAME, settings)
    return plan


def table_step(plan):
    (step,) = plan.of_kind("paper_table")
    return step


@pytest.mark.parametrize(
    ("printed", "name"),
    [
        ("Match-DenseNet-14-0.5-1", "match_densenet_14_05_1"),
        ("WRN-28-10", "wrn_28_10"),
        ("d(0.6,0.6)+ensemble", "d0606ensemble"),
        ("Gen #0", "gen_0"),
    ],
)
def test_printed_names_as_names_of_lineages(printed, name):
    assert slug(printed) == name


def test_a_row_is_named_by_its_columns():
    row = {"network": "WRN-28-1", "method": "ban", "generation": "1", "metric": "test_error_pct"}
    assert matches(row, {})
    assert matches(row, {"network": "WRN-28-1", "generation": 1})
    assert matches(row, {"method": ["teacher", "ban"]})
    assert not matches(row, {"method": ["teacher"]})
    assert not matches(row, {"network": "WRN-28-1", "generation": 2})


def test_each_cell_reads_the_printed_generation_of_its_lineage():
    plan = build_plan([NAME])
    step = table_step(plan)
    rows, cells = step.settings["rows"], step.settings["cells"]
    assert len(rows) == 30  # 5 generations x 6 metrics
    assert len(cells) == 30
    for cell in cells:
        row = rows[cell["row"]]
        (name,) = cell["steps"]
        if row["metric"].startswith("confidence"):
            assert plan.roles[f"{NAME}-ban-gen{row['generation']}-seed0-statistics"] == name
            assert plan.steps[name].inputs["network"] == plan.roles[f"{NAME}-ban-gen{row['generation']}-seed0"]
            assert cell["key"] == row["metric"]
        else:
            assert plan.roles[f"{NAME}-ban-gen{row['generation']}-seed0"] == name


def test_seeds_repeat_every_cell():
    names, overrides = read_choice({"paper": NAME, "seeds": 3})
    step = table_step(build_plan(names, overrides))
    assert len(step.settings["cells"]) == 90
    assert {cell["seed"] for cell in step.settings["cells"]} == {0, 1, 2}


def test_a_printed_value_that_no_cell_names_is_an_error():
    cells = [{"for": {"generation": [0, 1, 2, 3]}, "is": {"lineage": "ban"}}]
    with pytest.raises(SettingError, match=r"0 cells and 0 entries.*generation = 4.*config/paper/tolerant_teachers_table1\.yaml"):
        plan_with(cells=cells)
    plan_with(cells=cells, not_run=[{"for": {"generation": 4}, "why": "a test"}])


def test_a_printed_value_that_two_cells_name_is_an_error():
    cell = {"for": {}, "is": {"lineage": "ban"}}
    with pytest.raises(SettingError, match="2 cells"):
        plan_with(cells=[cell, cell])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"lineage": "nothing"}, r"lineage = nothing: there is no such lineage. Allowed: ban\."),
        ({"lineage": "ban", "generation": 6}, r"generation = 6: lineage ban has generations 0 to 5"),
        ({"lineage": "ban", "ensemble": "0..9"}, r"generation = 9: lineage ban has generations 0 to 5"),
        ({"lineage": "ban", "ensemble": "3..1"}, r"ensemble = 3\.\.1: 3 is after 1"),
        ({"lineage": "ban", "ensemble": "1-2"}, r"ensemble = '1-2': not allowed. It must be generations as FIRST\.\.LAST"),
        ({"lineage": "{net}"}, r"\{net\}: only \{row\}, \{network\}"),
        ({"lineage": "{}"}, r"only \{row\}, \{network\}"),
        ({"lineage": "ban", "ensemble": "0..1", "scratch": 2}, "a cell is one thing, not several"),
        ({"lineage": "ban", "scratch": 2, "generation": 1}, "a cell is one thing, not several"),
        ({"lineage": "ban", "best_of": "1..2"}, "test_accuracy_pct cannot be had from"),
        ({"lineage": "ban", "fine_tune": "digits8x8"}, r"fine_tune with recipe"),
        ({"lineage": "ban", "recipe": "digits"}, r"fine_tune with recipe"),
        ({"lineage": "ban", "transfer": "pydoc"}, "it is for images, but the data set pydoc has text"),
        ({"lineage": "ban", "transfer": "nothing"}, "dataset = nothing: there is no such dataset"),
        ({"lineage": "ban", "fine_tune": "digits8x8", "recipe": "pydoc_lstm"}, "recipe = pydoc_lstm: it is for text"),
    ],
)
def test_a_cell_that_cannot_be_is_an_error(source, message):
    row = {"network": "ResNet-110", "method": "ban", "generation": "1", "metric": "test_accuracy_pct"}
    with pytest.raises(SettingError, match=message):
        plan_with(reference=[], rows=[row], cells=[{"for": {}, "is": source}])


@pytest.mark.parametrize(
    ("metric", "source", "message"),
    [
        ("perplexity_test", {}, "perplexity_test cannot be had from .* of images"),
        ("best_test_accuracy_pct", {}, "best_test_accuracy_pct cannot be had from"),
        ("params_millions", {"ensemble": "0..1"}, "params_millions cannot be had from"),
        ("confidence_top1_pct", {"transfer": "digits8x8"}, "confidence_top1_pct cannot be had from"),
        ("kd_error_test_pct", {"generation": 0}, "generation 0 .ban-gen0-seed0., which has no teacher"),
        ("test_error_pct", {"generation": 7}, "generation = 7: lineage ban has generations 0 to 5"),
    ],
)
def test_a_metric_that_a_source_does_not_have_is_an_error(metric, source, message):
    row = {"network": "ResNet-110", "method": "ban", "generation": "1", "metric": metric}
    with pytest.raises(SettingError, match=message):
        plan_with(reference=[], rows=[row], cells=[{"for": {}, "is": {"lineage": "ban", **source}}])


def test_class_distances_need_superclasses():
    settings = copy.deepcopy(compose_experiment("tolerant_teachers_table2"))
    settings["dataset"]["superclasses"] = None
    with pytest.raises(SettingError, match=r"dataset cifar100 has none. Set dataset\.superclasses"):
        add_experiment(Plan(), "tolerant_teachers_table2", settings)


def test_entries_that_name_no_row_are_errors():
    cells = [{"for": {"method": "ban"}, "is": {"lineage": "ban"}}]
    typo = {"row": "Gen #9"}
    with pytest.raises(SettingError, match=r"table\.cells: for = \{'row': 'Gen #9'\}: no row of the table is so"):
        plan_with(cells=[*cells, {"for": typo, "is": {"lineage": "ban"}}])
    with pytest.raises(SettingError, match=r"table\.not_run: for = \{'row': 'Gen #9'\}: no row"):
        plan_with(cells=cells, not_run=[{"for": typo, "why": "a test"}])
    row = {"network": "ResNet-110", "method": "other", "metric": "test_error_pct"}
    with pytest.raises(SettingError, match=r"0 cells and 0 entries of table\.not_run name the row .*method = other"):
        plan_with(rows=[row], cells=cells)


@pytest.mark.parametrize(
    ("old", "new", "message"), [(",value,", ",val,", "has no column value"), (",99.28,", ",~99,", "value = ~99: must be a number")]
)
def test_a_damaged_reference_file_is_an_error(tmp_path, monkeypatch, old, new, message):
    text = (paper.CONFIG / "reference" / f"{NAME}.csv").read_text()
    assert old in text
    (tmp_path / "config" / "reference").mkdir(parents=True)
    (tmp_path / "config" / "reference" / "own.csv").write_text(text.replace(old, new, 1))
    monkeypatch.setattr(paper, "CONFIG", tmp_path / "config")
    with pytest.raises(SettingError, match=message):
        read_reference(["own"])


def test_steps_that_no_cell_reads_are_not_planned():
    settings = copy.deepcopy(compose_experiment(NAME))
    settings["lineages"]["unused"] = {"objective": "cwtm", "generations": 2}
    plan = Plan()
    add_experiment(plan, NAME, settings)
    before = len(plan.steps)
    plan.prune()
    # Two students and the labels of the first (patriarch and its labels are those of the other lineage), and what no printed
    # number is from: the other's 5th generation and the labels of its 4th.
    assert before - len(plan.steps) == 5
    assert not [role for role in plan.roles if "unused-gen1" in role or "unused-gen2" in role or "ban-gen5" in role]
    assert set(plan.roles.values()) <= set(plan.steps)


@pytest.mark.parametrize("name", paper_names())
def test_every_step_of_a_table_has_a_readable_name(name):
    plan = build_plan([name], ("seeds=[0]",), without_data=True)
    named = set(plan.roles.values())
    # A patriarch that several lineages share has several names, every other step at least one.
    assert named == set(plan.steps)


def test_an_unknown_key_of_a_cell_is_an_error():
    with pytest.raises(SettingError, match=r"table\.cells\.0\.is\.linage = ban: unknown setting. Allowed: lineage, generation"):
        plan_with(cells=[{"for": {}, "is": {"lineage": "ban", "linage": "ban"}}])


def test_placeholders_stand_for_the_rows_own_words():
    rows = [{"network": "ResNet-110", "method": "ban", "generation": str(k), "metric": "test_error_pct"} for k in (1, 3, 5)]
    plan = plan_with(reference=[], rows=rows, cells=[{"for": {}, "is": {"lineage": "{method}", "ensemble": "0..{generation}"}}])
    step = table_step(plan)
    assert len(step.settings["cells"]) == 3
    for cell in step.settings["cells"]:
        generation = int(step.settings["rows"][cell["row"]]["generation"])
        (name,) = cell["steps"]
        assert len(plan.steps[name].inputs["members"]) == generation + 1


def test_rows_that_the_paper_prints_no_numbers_for():
    row = {"network": "ResNet-110", "method": "ban", "generation": "5", "metric": "test_error_pct"}
    step = table_step(plan_with(reference=[], rows=[row], cells=[{"for": {"method": "ban"}, "is": {"lineage": "ban"}}]))
    assert [r["value"] for r in step.settings["rows"]] == [""]
    assert len(step.settings["cells"]) == 1
    with pytest.raises(SettingError, match="metric = tset_error: must be one of params_millions"):
        plan_with(reference=[], rows=[{**row, "metric": "tset_error"}])


def test_choosing_published_tables():
    assert read_choice({"paper": NAME}) == ([NAME], ())
    assert read_choice({"paper": "all"})[0] == paper_names()
    assert read_choice({"paper": ["all", NAME]})[0] == paper_names()
    assert read_choice({"paper": [NAME], "experiments": ["demo"], "scale": "smoke"}) == (["demo", NAME], ("scale=smoke",))
    assert read_choice({"paper": NAME, "seeds": 2})[1] == ("seeds=[0, 1]",)
    assert read_choice({})[0] == ["demo"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"paper": "tabel"}, "paper = tabel: there is no such published table. Allowed: all, "),
        ({"paper": NAME, "seeds": 0}, "seeds = 0: must be the number of seeds"),
        ({"paper": NAME, "seeds": "two"}, "seeds = two: must be"),
        ({"paper": NAME, "seeds": True}, "seeds = True: must be"),
        ({"paper": []}, "must name at least one of"),
        ({"papers": NAME}, "papers = tolerant_teachers_table1: unknown. Allowed in snakemake --config: experiments, paper"),
    ],
)
def test_a_choice_that_cannot_be(config, message):
    with pytest.raises(SettingError, match=message):
        read_choice(config)


def test_another_scale_than_there_is():
    with pytest.raises(SettingError, match=r"'scale/smok'.*full.*smoke"):
        build_plan([NAME], ("scale=smok",))


def test_scale_smoke_has_the_same_cells_on_other_runs():
    full, smoke = (table_step(build_plan([NAME], (f"scale={scale}",))) for scale in ("full", "smoke"))
    cells = [[(c["row"], c["seed"], c["key"]) for c in step.settings["cells"]] for step in (full, smoke)]
    assert cells[0] == cells[1]
    assert not {s for c in full.settings["cells"] for s in c["steps"]} & {s for c in smoke.settings["cells"] for s in c["steps"]}


def test_a_value_in_the_form_that_the_paper_prints():
    assert in_form("as_is", [12.5]) == 12.5
    assert in_form("accuracy", [12.5]) == 87.5
    assert in_form("millions", [16_120_000]) == pytest.approx(16.12)
    assert in_form("tenth", [1.46]) == pytest.approx(0.146)
    assert in_form("best_accuracy", [30.0, 27.5, 28.0]) == 72.5
    assert in_form("gain", [30.0, 27.5]) == 2.5


def test_a_metric_is_found_by_its_key():
    metrics = {"test_error_pct": 5.0, "train_error_pct": 3}
    assert value_at(metrics, "train_error_pct", "generation/g") == 3
    with pytest.raises(UserError, match="the receipt of generation/g has no metric nothing"):
        value_at(metrics, "nothing", "generation/g")


def test_mean_spread_n_and_difference():
    values = [5.0, 7.0, 9.5]
    found = summarise(values, {"metric": "test_error_pct", "value": "6.5"})
    assert found == {
        "ours": pytest.approx(sum(values) / 3),
        "sd": pytest.approx(statistics.stdev(values)),
        "n": 3,
        "difference": pytest.approx(sum(values) / 3 - 6.5),
    }
    assert summarise(values, {"metric": "test_error_pct_median", "value": ""})["ours"] == 7
    assert summarise([5.0], {"metric": "test_error_pct", "value": ""}) == {"ours": 5, "sd": None, "n": 1, "difference": None}
    assert summarise([], {"metric": "test_error_pct", "value": "5"}) == {"ours": None, "sd": None, "n": 0, "difference": None}


def small_table() -> dict:
    """The settings of a table of one line: a number, the same at its best epoch, and one that is not run."""
    row = {"row": "r", "network": "N", "dataset": "D", "generation": "1", "spread": "", "note": ""}
    return {
        "table": "t",
        "title": "A table",
        "choices": [{"setting": "batch size", "choice": 128, "why": "It is usual."}],
        "notes": [{"text": "The text says 4.5.", "rows": [2]}, {"text": "It names no seeds.", "rows": []}],
        "layout": {
            "labels": ["row"],
            "lines": [["r"]],
            "columns": [[["method", "ban"]], [["metric", "test_error_pct_best_epoch"]], [["name", "Quoted"]]],
            "places": [[0, 0], [0, 1], [0, 2]],
        },
        "scale": "full",
        "rows": [
            {**row, "method": "ban", "metric": "test_error_pct", "value": "6.5", "note": "as printed"},
            {**row, "method": "ban", "metric": "test_error_pct_best_epoch", "value": ""},
            {**row, "method": "competitor", "metric": "test_error_pct", "value": "4", "spread": "0.1"},
        ],
        "forms": {"test_error_pct": "as_is", "test_error_pct_best_epoch": "as_is"},
        "cells": [
            {"row": 0, "seed": 0, "steps": ["generation/a"], "key": "test_error_pct"},
            {"row": 0, "seed": 1, "steps": ["generation/b"], "key": "test_error_pct"},
            {"row": 1, "seed": 0, "steps": ["generation/a"], "key": "best_epoch_test_error_pct"},
            {"row": 1, "seed": 1, "steps": ["generation/b"], "key": "best_epoch_test_error_pct"},
        ],
        "not_run": [{"row": 2, "why": "quoted"}],
    }


def make_table(tmp_path, settings=None, batch_sizes=(128, 128)) -> dict:
    """The `table.json` of a table that reads two runs."""
    errors = {"generation/a": (6.0, 5.5), "generation/b": (8.0, 6.5)}
    for seed, (name, (last, best)) in enumerate(errors.items()):
        own = {"recipe": {"batch_size": batch_sizes[seed]}, "seed": seed}
        spec = {"kind": "generation", "settings": own, "code": {}, "inputs": {}}
        receipt = {"metrics": {"test_error_pct": last, "best_epoch_test_error_pct": best}, "spec": spec}
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "receipt.json").write_text(json.dumps(receipt))
    folders = [tmp_path / "runs" / name for name in errors]
    found = make_paper_table(settings or small_table(), {"cells": folders}, tmp_path / "out", Runtime())
    assert found == {"rows": 3, "rows_run": 2}
    return json.loads((tmp_path / "out" / "table.json").read_text())


def test_a_table_has_published_and_own_values_side_by_side(tmp_path):
    rows = make_table(tmp_path)["rows"]
    assert [(r["published"], r["ours"], r["n"], r["not_run"]) for r in rows] == [
        ("6.5", 7.0, 2, ""),
        ("", 6.0, 2, ""),
        ("4", None, 0, "quoted"),
    ]
    assert rows[0]["sd"] == pytest.approx(2**0.5)
    assert rows[0]["difference"] == pytest.approx(0.5)


def test_a_table_has_the_value_of_each_seed_and_its_step(tmp_path):
    rows = make_table(tmp_path)["rows"]
    assert rows[1]["runs"] == [
        {"seed": 0, "value": 5.5, "steps": ["generation/a"]},
        {"seed": 1, "value": 6.5, "steps": ["generation/b"]},
    ]
    assert rows[2]["runs"] == []


def test_a_seed_that_a_row_lacks_or_has_twice_is_named(tmp_path):
    settings = small_table()
    cells = settings["cells"]
    with pytest.raises(UserError, match=r"t, row 2 \(r/N/D/ban/1/test_error_pct_best_epoch\): seed 1 is missing"):
        make_table(tmp_path, {**settings, "cells": cells[:3]})
    with pytest.raises(UserError, match=r"t, row 1 \(r/N/D/ban/1/test_error_pct\): seed 0 is there 2 times"):
        make_table(tmp_path, {**settings, "cells": [cells[0], *cells]})


def test_runs_of_different_recipes_are_never_in_one_cell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"t, row 1 .*seeds 0 and 1 are of different recipes: recipe\.batch_size = 128 .* and 64"):
        make_table(tmp_path, batch_sizes=(128, 64))


def test_a_wide_table_marks_best_epochs_spreads_and_what_was_not_run(tmp_path):
    table = wide(make_table(tmp_path))
    assert (table.labels, table.columns) == (["row"], ["ban", "best-epoch test error %", "Quoted"])
    assert table.notes == ["as printed", "The text says 4.5.", "quoted", "It names no seeds."]
    ((labels, cells),) = table.rows
    assert labels == ["r"]
    assert cells == [
        Cell("6.5", "7.00 ± 1.41", "+0.50", "2", (1,), False, "", 0),
        Cell("–", "6.00 ± 0.71", "–", "2", (), True, "", 1),
        Cell("4 ± 0.1", "not run", "–", "–", (2, 3), False, "quoted", 2),
    ]
    assert lines(table, 0) == [
        ("published", ["6.5 [1]", "–", "4 ± 0.1 [2]"]),
        ("ours", ["7.00 ± 1.41", "6.00 ± 0.71 †", "not run [3]"]),
        ("difference", ["+0.50", "–", "–"]),
    ]


def test_a_cell_with_another_number_of_seeds_says_so(tmp_path):
    content = make_table(tmp_path)
    content["rows"][1]["n"] = 5
    assert [text for name, texts in lines(wide(content), 0) for text in texts if name == "ours"] == [
        "7.00 ± 1.41 (n = 2)",
        "6.00 ± 0.71 † (n = 5)",
        "not run [3]",
    ]


def test_markdown_has_notes_choices_and_a_warning_at_smaller_scale(tmp_path):
    content = make_table(tmp_path)
    text = paper_markdown(content)
    assert "[1] as printed" in text
    assert "- batch size: 128. It is usual." in text
    assert "mean nothing" not in text
    assert "mean nothing" in paper_markdown({**content, "scale": "smoke"})


def test_reference_files_are_found_by_name():
    rows = read_reference(["ban_icml2018_table2_left", "ban_icml2018_table2_right"])
    assert len(rows) == 40
    with pytest.raises(SettingError, match=r"table\.reference = nothing: there is no file config/reference/nothing\.csv"):
        read_reference(["nothing"])


def test_every_published_table_names_its_choices():
    for name in paper_names():
        table = compose_experiment(name)["table"]
        assert table["choices"], name
