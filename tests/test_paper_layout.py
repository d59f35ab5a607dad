"""The shape of published tables, the contradictions in their footnotes, and their files."""

import copy
import io
import json
import statistics
from pathlib import Path

import pandas as pd
import pytest

from gendistill.errors import SettingError
from gendistill.plan import Plan, build_plan, paper
from gendistill.plan.build import add_experiment
from gendistill.plan.cells import COLUMNS
from gendistill.plan.layout import lay_out
from gendistill.plan.settings import compose_experiment, paper_names
from gendistill.results.paper_report import paper_files, paper_section
from gendistill.results.wide import printed_remark, wide
from tests.test_paper_tables import NAME, make_table, plan_with, table_step


def row(**labels) -> dict[str, str]:
    return {**dict.fromkeys(COLUMNS, ""), "metric": "test_error_pct", **labels}


def shape(rows, chosen=None, needed=None):
    return lay_out(rows, needed or [True] * len(rows), chosen, "config/paper/own.yaml")


def test_what_varies_in_a_printed_row_makes_the_columns():
    rows = [row(row=name, network=name, method=m, generation=g) for name in "ab" for m, g in (("teacher", "0"), ("ban", "1"))]
    layout = shape(rows)
    assert (layout.labels, layout.lines) == (["row"], [["a"], ["b"]])
    # The method tells the generation.
    assert layout.columns == [[["method", "teacher"]], [["method", "ban"]]]
    assert layout.places == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_a_heading_is_never_empty_where_another_label_says_something():
    rows = [row(row="a", metric="params_millions"), row(row="a", method="ban"), row(row="a", method="kd")]
    assert shape(rows).columns == [
        [["metric", "params_millions"]],
        [["method", "ban"], ["metric", "test_error_pct"]],
        [["method", "kd"], ["metric", "test_error_pct"]],
    ]


def test_what_the_columns_do_not_tell_apart_names_the_line():
    rows = [row(row="a", method=m, generation=g, network=n) for m in ("kd", "at") for n in ("N", "M") for g in "01"]
    layout = shape(rows, ["generation"])
    assert layout.labels == ["row", "network", "method"]
    assert layout.lines == [["a", "N", "kd"], ["a", "M", "kd"], ["a", "N", "at"], ["a", "M", "at"]]
    assert layout.places[:3] == [[0, 0], [0, 1], [1, 0]]


def test_columns_by_name():
    rows = [
        row(row="a", network="A", method="teacher"),
        row(row="a", network="A", method="ban"),
        row(row="a", network="D", method="ban"),
    ]
    chosen = {"Teacher": {"method": "teacher"}, "BAN": {"method": "ban", "network": ["A"]}, "Dense": {"network": "D"}}
    layout = shape(rows, chosen)
    assert layout.columns == [[["name", "Teacher"]], [["name", "BAN"]], [["name", "Dense"]]]
    assert (layout.lines, layout.places) == ([["a"]], [[0, 0], [0, 1], [0, 2]])


def test_rows_alike_in_all_labels_are_lines_of_their_own_without_those_that_have_no_number():
    rows = [row(row="a"), row(row="a"), row(row="a"), row(row="b")]
    layout = shape(rows, needed=[False, True, True, False])
    assert layout.lines == [["a"], ["a"], ["b"]]
    assert layout.places == [None, [0, 0], [1, 0], [2, 0]]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (["metric", "metric"], "table.columns = .*: a label is there twice. Set in config/paper/"),
        (["row"], r"table\.columns\.0 = 'row': not allowed. It must be network, dataset, method, generation or metric"),
        ([], r"table\.columns = \[\]: not allowed. It must be a list of network, .* or a mapping of headings"),
        ({"a": {"metod": "x"}}, r"table\.columns\.a\.metod = x: unknown setting. Allowed: row, network"),
        ({"Gen 0": {"generation": 0}}, r"table\.columns: 0 columns have the row row = Gen #1, "),
        ({"All": {}, "Gen 0": {"generation": 0}}, r"table\.columns: 2 columns \(All, Gen 0\) have the row row = Gen #0"),
        ({"All": {}, "Gen 9": {"generation": 9}}, r"table\.columns: Gen 9 = \{'generation': 9\}: no row of the table is so"),
    ],
)
def test_columns_that_cannot_be(chosen, message):
    with pytest.raises(SettingError, match=message):
        plan_with(columns=chosen)


@pytest.mark.parametrize(
    ("name", "labels", "columns"),
    [
        ("ban_icml2018_table1", ["row"], ["parameters, millions", "teacher, test error %", "ban, test error %"]),
        ("ban_icml2018_table3", ["row"], ["Teacher", "BAN", "Dense-90-60"]),
        ("efficacy_table1", ["row"], ["Teacher", "Student"]),
        ("efficacy_table7", ["row"], ["1st teacher", "2nd teacher", "Student"]),
        ("efficacy_table8", ["row", "method"], ["top-1 error %"]),
        ("efficacy_figure2", ["row"], ["scratch", "teacher", "kd"]),
        ("tolerant_teachers_table4", ["row", "network", "method", "metric"], [*(f"Gen #{k}" for k in range(6)), "Quoted"]),
        ("tolerant_teachers_table5", ["row", "metric"], [f"gen. {k}" for k in range(6)]),
    ],
)
def test_a_table_has_the_shape_of_the_paper(name, labels, columns):
    table = wide(content_without_runs(name))
    assert [label.replace("data set", "dataset") for label in table.labels] == labels
    assert table.columns == columns


def content_without_runs(name: str) -> dict:
    """The `table.json` of a published table of which nothing was run."""
    settings = table_step(build_plan([name], ("seeds=[0]",), without_data=True)).settings
    none = {"ours": None, "sd": None, "n": 0, "difference": None, "not_run": "", "runs": []}
    rows = [{**r, "published": r["value"], "published_spread": r["spread"], **none} for r in settings["rows"]]
    return {**{k: settings[k] for k in ("table", "title", "choices", "scale", "notes", "layout")}, "rows": rows}


@pytest.mark.parametrize("name", paper_names())
def test_each_printed_number_stands_once_in_its_table(name):
    content = content_without_runs(name)
    table = wide(content)
    cells = [cell for _, line in table.rows for cell in line if cell]
    assert all(len(line) == len(table.columns) <= 10 for _, line in table.rows)
    assert len({cell.row for cell in cells}) == len(cells)
    printed = [n for n, r in enumerate(content["rows"]) if r["published"]]
    assert set(printed) <= {cell.row for cell in cells}
    for cell in cells:
        assert cell.published.partition(" ± ")[0] == (content["rows"][cell.row]["published"] or "–")
    assert all(any(cell for cell in line) for _, line in table.rows)


def test_a_line_without_a_printed_name_has_that_of_its_method():
    names = [labels[0] for labels, _ in wide(content_without_runs("efficacy_table7")).rows]
    assert names == ["Large→Small→Small", "Med.→Small→Small", "Small→Small→Small", "seq-kd-others", "seq-kd-others"]


def with_contradictions(tmp_path, monkeypatch, text: str) -> Plan:
    """The plan of a table, where `contradictions.yaml` is so."""
    settings = copy.deepcopy(compose_experiment(NAME))
    (tmp_path / "reference").mkdir(exist_ok=True)
    for file in (paper.CONFIG / "reference").glob("*.csv"):
        (tmp_path / "reference" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "reference" / "contradictions.yaml").write_text(text)
    with monkeypatch.context() as patch:
        patch.setattr(paper, "CONFIG", tmp_path)
        plan = Plan()
        add_experiment(plan, NAME, settings)
    return plan


def test_contradictions_are_footnotes_of_the_rows_that_they_are_about(tmp_path, monkeypatch):
    text = f"""
- {{ tables: [efficacy_table1, {NAME}], rows: {{ generation: [0, 1], metric: test_accuracy_pct }}, text: not better }}
- {{ tables: [{NAME}], text: of all }}
- {{ tables: [{NAME}, efficacy_table1], rows: {{ row: ResNet18 }}, text: of rows of another table }}
- {{ tables: [efficacy_table1], text: of another table }}
"""
    step = table_step(with_contradictions(tmp_path, monkeypatch, text))
    about = [n for n, r in enumerate(step.settings["rows"]) if r["generation"] in "01" and r["metric"] == "test_accuracy_pct"]
    assert step.settings["notes"] == [{"text": "not better", "rows": about}, {"text": "of all", "rows": []}]
    # A changed text changes the table.
    other = table_step(with_contradictions(tmp_path, monkeypatch, text.replace("not better", "worse")))
    assert other.name != step.name


def test_a_contradiction_in_one_of_two_files_marks_rows_of_that_file_only():
    left, right = "ban_icml2018_table2_left", "ban_icml2018_table2_right"
    entry = {"tables": [right], "rows": {"network": "DenseNet-112-33"}, "text": "x"}
    (note,) = paper.notes_on([left, right], [entry])
    # Each file has four networks of five rows.
    assert note == {"text": "x", "rows": [20, 21, 22, 23, 24]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"- {{ tables: [{NAME}], rows: {{ row: Gen 9 }}, text: wrong }}", r"rows = \{'row': 'Gen 9'\}: no row of"),
        ("- { tables: [nothing], rows: { row: x }, text: wrong }", r"there is no file .*nothing\.csv"),
        (f"- {{ tables: [{NAME}] }}", "must be a mapping of tables and text"),
        (f"- {{ tables: [{NAME}], txt: wrong, text: a }}", "must be a mapping of tables and text"),
        ("- [", r"contradictions\.yaml: while parsing"),
    ],
)
def test_contradictions_that_cannot_be_read(tmp_path, monkeypatch, text, message):
    with pytest.raises(SettingError, match=message):
        with_contradictions(tmp_path, monkeypatch, text)


def test_the_files_of_a_table(tmp_path):
    content = make_table(tmp_path)
    files = paper_files(content)
    assert list(files) == [f"tables/t{end}" for end in (".csv", "_wide.csv", "_runs.csv", ".md", ".tex")]
    assert list(paper_section(content)["files"].values()) == list(files)
    long = pd.read_csv(io.StringIO(files["tables/t.csv"]))
    assert long["ours"].tolist()[:2] == [7, 6]
    assert "runs" not in long
    runs = pd.read_csv(io.StringIO(files["tables/t_runs.csv"]))
    assert list(runs) == [*COLUMNS, "seed", "value", "step"]
    for n, group in runs.groupby("metric"):
        assert group["value"].mean() == long.set_index("metric")["ours"].dropna()[n]
        assert statistics.stdev(group["value"]) == pytest.approx(long.set_index("metric")["sd"].dropna()[n])
    shown = pd.read_csv(io.StringIO(files["tables/t_wide.csv"]), dtype=str, keep_default_na=False)
    assert shown["ban: published"].tolist() == ["6.5"]
    assert (shown["ban: ours"].tolist(), shown["ban: n"].tolist()) == (["7.0"], ["2"])
    assert shown["Quoted: ours"].tolist() == ["not run"]


def test_markdown_has_three_lines_for_a_line_of_the_table(tmp_path):
    lines = [line for line in paper_files(make_table(tmp_path))["tables/t.md"].splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["row", "", "ban", "best-epoch test error %", "Quoted"]
    assert cells[2:] == [
        ["r", "published", "6.5 [1]", "–", "4 ± 0.1 [2]"],
        ["", "ours", "7.00 ± 1.41", "6.00 ± 0.71 †", "not run [3]"],
        ["", "difference", "+0.50", "–", "–"],
    ]


def test_the_same_table_is_the_same_bytes(tmp_path):
    content = make_table(tmp_path)
    assert paper_files(content) == paper_files(json.loads(json.dumps(content)))
    assert Path(tmp_path, "out", "table.json").read_text() == json.dumps(content, indent=1) + "\n"


@pytest.mark.parametrize(
    ("note", "shown"),
    [
        ("column split off in the text extraction; reassembled and equal to the workshop Table 1", ""),
        (
            "columns reassembled; test values confirmed by the text of Section 5.3",
            "test values confirmed by the text of Section 5.3",
        ),
        (
            "teacher=DenseNet-90-60; columns reassembled (a heading, not a row); equal to the workshop Table 2",
            "teacher=DenseNet-90-60",
        ),
        ("cell printed '-' (no value)", ""),
        ("printed in parentheses", "printed in parentheses"),
    ],
)
def test_footnotes_tell_nothing_of_the_transcription(note, shown):
    assert printed_remark(note) == shown
