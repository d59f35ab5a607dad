"""Tables and single numbers in LaTeX: what is escaped, and, with a real LaTeX, every published table and the macros."""

import json
import os
import re
import subprocess
import unicodedata
import zlib
from pathlib import Path

import pandas as pd
import pytest

from gendistill.plan import build_plan
from gendistill.plan.settings import paper_names
from gendistill.results.experiment_report import readable
from gendistill.results.latex import escape, frame_latex, number
from gendistill.results.macros import macros
from gendistill.results.paper_report import paper_latex
from gendistill.results.paper_table import make_paper_table
from gendistill.runtime import Runtime

ODD = r"a_b 50% #1 & {x} ~ ^ \ | $ < > [y] * -- † ± – — → × ' " + '"é'


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("train_error_pct 5%", r"train\_error\_pct 5\%"),
        (r"\{}", r"\textbackslash{}\{\}"),
        ("a & #1 ~ ^ | $", r"a \& \#1 \textasciitilde{} \textasciicircum{} \textbar{} \$"),
        ("ens*2 [17] <1>", r"ens{*}2 {[}17{]} \textless{}1\textgreater{}"),
        ("5 ± 1 – †", r"5 \ensuremath{\pm} 1 -- \textdagger{}"),
        ("--seed", "-{}-seed"),
        ("Müller ☃ λ", r"Müller \texttt{U+2603} \ensuremath{\lambda}"),
    ],
)
def test_text_is_escaped(text, latex):
    assert escape(text) == latex


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("-0.12", r"\ensuremath{-}0.12"),
        ("+1.20 †", r"\ensuremath{+}1.20\textsuperscript{\textdagger{}}"),
        ("5.00 [1, 3]", r"5.00\textsuperscript{1,3}"),
        ("5.00 ± 0.10 † [2]", r"5.00 \ensuremath{\pm} 0.10\textsuperscript{\textdagger{},2}"),
        ("not run [12]", r"not run\textsuperscript{12}"),
        ("–", "--"),
    ],
)
def test_a_value_has_a_sign_and_raised_marks(text, latex):
    assert number(text) == latex


def summary(metric: str = "test_error_pct", sd: float | None = 0.25) -> dict:
    return {"lineage": "ban", "generation": 3, "n": 3, f"{metric}_mean": 5.125, f"{metric}_sd": sd}


def study(**changes) -> dict:
    """A `tables.json` with one row of two metrics."""
    row = {**summary(), "train_error_pct_mean": 0.5, "train_error_pct_sd": 0.125, **changes}
    return {"experiment": "demo", "summaries": {"error": [row]}}


def defined(text: str) -> dict[str, list[str]]:
    """The cells that the macros define, with their parts."""
    lines = [line for line in text.splitlines() if line.startswith(r"\gendistill@cell{")]
    found = [re.fullmatch(r"\\gendistill@cell\{(.*?)\}\{(.*)\}", line) for line in lines]
    return {match[1]: re.findall(r"\{((?:[^{}]|\{[^{}]*\})*)\}", match[2]) for match in found}


def test_macros_are_named_as_cells_of_provenance():
    cells = defined(macros([study()], [], []))
    assert cells == {
        "demo_error:ban/3": [r"5.12 \ensuremath{\pm} 0.25", "5.12", "0.25", "3", "", ""],
        "demo_error:ban/3:train_error_pct": [r"0.50 \ensuremath{\pm} 0.12", "0.50", "0.12", "3", "", ""],
    }


def test_a_macro_of_one_run_says_so():
    cells = defined(macros([study(n=1, test_error_pct_sd=None)], [], []))
    assert cells["demo_error:ban/3"] == ["5.12 (one run)", "5.12", "", "1", "", ""]


def test_macros_of_a_published_table_have_its_numbers(tmp_path, monkeypatch):
    content = made_up("efficacy_table5", tmp_path, monkeypatch)
    cells = defined(macros([], [content], []))
    assert list(cells) == [f"efficacy_table5:{n}" for n in range(1, 8)]
    row = content["rows"][2]
    text, mean, sd, n, published, difference = cells["efficacy_table5:3"]
    assert (mean, sd, n) == (f"{row['ours']:.2f}", f"{row['sd']:.2f}", "3")
    assert text == rf"{mean} \ensuremath{{\pm}} {sd}"
    assert published == rf"{row['published']} \ensuremath{{\pm}} {row['published_spread']}"
    assert difference == rf"\ensuremath{{+}}{row['ours'] - float(row['published']):.2f}"


def test_a_wide_frame_is_split_with_its_labels_in_each_part():
    frame = pd.DataFrame(
        {"lineage": ["ban"], "gen.": ["1"], **{f"metric {k}": [f"{k}0.00 ± 0.10"] for k in range(1, 9)}, "n": ["3"]}
    )
    text = frame_latex(frame, "Confidence. More.", "tab:c")
    assert text.count(r"\begin{tabular}") == 2
    assert text.count("ban & 1 & ") == 2
    assert text.count("n = ") == 0
    assert [text.count(f"{k}0.00 ") for k in range(1, 9)] == [1] * 8
    assert r"\caption[Confidence]{Confidence. More.}\label{tab:c}" in text


def test_a_spread_has_its_own_line_where_that_saves_splitting_the_table(tmp_path, monkeypatch):
    content = made_up("tolerant_teachers_table3", tmp_path, monkeypatch)
    text = paper_latex(content)
    assert text.count(r"\begin{longtable}") + text.count(r"\begin{tabular}") == 1
    means = " & ".join(f"{row['ours']:.2f}" for row in content["rows"][:6])
    spreads = " & ".join(rf"\ensuremath{{\pm}} {row['sd']:.2f}" for row in content["rows"][:6])
    assert f"& ours & {means} " in text
    assert f"&  & {spreads} " in text


def made_up(name: str, tmp_path: Path, monkeypatch, changes: tuple[str, ...] = ("seeds=[0, 1, 2]",)) -> dict:
    """The `table.json` of a published table from made-up receipts: values between 20 and 21, other for each run."""
    (step,) = build_plan([name], changes, without_data=True).of_kind("paper_table")
    monkeypatch.chdir(tmp_path)
    keys = {cell["key"] for cell in step.settings["cells"]}
    for run in step.inputs["cells"]:
        metrics = {key: 20 + zlib.crc32(f"{run}{key}".encode()) % 1000 / 1000 for key in keys} | {"parameters": 6_720_000}
        Path("runs", run).mkdir(parents=True, exist_ok=True)
        Path("runs", run, "receipt.json").write_text(json.dumps({"metrics": metrics}))
    make_paper_table(step.settings, {"cells": [Path("runs", run) for run in step.inputs["cells"]]}, Path("out"), Runtime())
    return json.loads(Path("out", "table.json").read_text())


def compiled(latex: str, folder: Path, body: str, head: str = "") -> str:
    """The text of the PDF of a plain article; fails on an error, or on what is wider than the page."""
    source = (
        f"\\documentclass{{article}}\n\\usepackage{{booktabs,longtable}}\n{head}\n\\begin{{document}}\n{body}\n\\end{{document}}\n"
    )
    (folder / "all.tex").write_text(source)
    for _ in range(3):
        # A long table finds its widths in the second run.
        done = subprocess.run(
            [latex, "-interaction=nonstopmode", "-halt-on-error", "all.tex"], cwd=folder, capture_output=True, errors="replace"
        )
        assert done.returncode == 0, done.stdout[-3000:]
        if "Rerun LaTeX" not in (folder / "all.log").read_text(errors="replace"):
            break
    log = (folder / "all.log").read_text(errors="replace")
    assert "Overfull" not in log, re.findall(r"Overfull.*\n.*", log)
    assert "undefined" not in log
    return subprocess.run(["pdftotext", "-layout", "all.pdf", "-"], cwd=folder, check=True, capture_output=True, text=True).stdout


def plain(text: str) -> str:
    """Text without blanks, ligatures, underscores, hyphens and minus signs, which PDFs set in their own way."""
    ligatures = {"ﬁ": "fi", "ﬂ": "fl", "ﬀ": "ff", "ﬃ": "ffi", "ﬄ": "ffl", "“": "''", "”": "''", "’": "'", "‘": "`"}
    for one, other in ligatures.items():
        text = text.replace(one, other)
    return re.sub(r"[\s\-−–_]", "", unicodedata.normalize("NFC", text))


@pytest.mark.documents
@pytest.mark.parametrize("name", paper_names())
def test_every_published_table_compiles_in_a_plain_document(latex, tmp_path, monkeypatch, name):
    content = made_up(name, tmp_path, monkeypatch)
    text = compiled(latex, tmp_path, paper_latex(content))
    found = plain(text)
    for row in content["rows"]:
        if row["ours"] is not None:
            assert plain(f"{row['ours']:.2f}") in found
            assert row["metric"] == "params_millions" or f"±{row['sd']:.2f}" in found
        if row["published"]:
            assert plain(row["published"]) in found
        if row["difference"] is not None:
            assert plain(f"{row['difference']:+.2f}") in found
    shown = [row for row, place in zip(content["rows"], content["layout"]["places"], strict=True) if place]
    assert text.count("not run") >= sum(bool(row["not_run"]) for row in shown)
    for choice in content["choices"]:
        assert plain(choice["setting"])[:20] in found


@pytest.mark.documents
@pytest.mark.parametrize("name", ["ban_icml2018_table2", "tolerant_teachers_table4", "efficacy_figure4"])
def test_a_table_of_one_seed_at_scale_smoke_compiles(latex, tmp_path, monkeypatch, name):
    content = made_up(name, tmp_path, monkeypatch, ("scale=smoke", "seeds=[0]"))
    text = compiled(latex, tmp_path, paper_latex(content))
    assert "the numbers mean nothing" in re.sub(r"\s+", " ", text)
    assert not re.search(r"^ *difference", text, re.MULTILINE)


@pytest.mark.documents
def test_odd_characters_are_printed(latex, tmp_path):
    frame = pd.DataFrame({"name_1 %": [ODD, "[b]", "*c"], "value": ["5.00 ± 0.10", "-1.00 ± 0.10", "not_run"]})
    text = plain(compiled(latex, tmp_path, frame_latex(frame, f"Odd {ODD}. And more.", "tab:a_b") + r"\listoftables"))
    # An underscore is a line, a dagger a sign of a font without names, and two accents stand alone.
    for shown in ("Oddab50%#1&{x}˜ˆ\\|$<>[y]*", "±", "→×", "é", "[b]", "*c", "name1%", "notrun"):
        assert shown in text, shown


@pytest.mark.documents
def test_an_experiments_tables_compile(latex, tmp_path):
    row = {"lineage": "ban_with_label_smoothing", "generation": 3, "n": 10}
    names = [*(f"confidence_top{k}_pct" for k in range(1, 5)), "train_accuracy_pct", "test_accuracy_pct"]
    values = {f"{name}_{what}": value for n, name in enumerate(names) for what, value in (("mean", 10.5 + n), ("sd", 1.25))}
    frame = readable("confidence", pd.DataFrame([{**row, **values}]))
    text = compiled(latex, tmp_path, frame_latex(frame, "Confidence of the demo. Mean and spread.", "tab:demo_confidence"))
    for value in ("10.50 ± 1.25", "15.50 ± 1.25"):
        assert plain(value) in plain(text)


MACROS = r"""
\section{Of \gendistill[mean]{demo_error:ban/3}}
Text \gendistill{demo_error:ban/3}, \gendistill{demo_error:ban/3:train_error_pct}.

\begin{tabular}{ll}\gendistill[sd]{demo_error:ban/3} & x \\
\gendistill[n]{demo_error:ban/3} & \gendistill{efficacy_table5:3} \\ \end{tabular}

\begin{table} \caption{Caption \gendistill[published]{efficacy_table5:3}} \end{table}
Math $d = \gendistill[difference]{efficacy_table5:3}$. \textbf{Bold \gendistill[mean]{demo_error:ban/3}}
\listoftables
"""


@pytest.mark.documents
def test_macros_print_their_numbers_in_text_tables_headings_and_captions(latex, tmp_path, monkeypatch):
    content = made_up("efficacy_table5", tmp_path, monkeypatch)
    (tmp_path / "macros.tex").write_text(macros([study()], [content], []))
    text = re.sub(r"\s+", " ", compiled(latex, tmp_path, MACROS, r"\input{macros.tex}"))
    row = content["rows"][2]
    difference = f"{row['difference']:+.2f}".replace("-", "−")
    for shown in ("Of 5.12", "Text 5.12 ± 0.25, 0.50 ± 0.12.", "Caption 7.68 ± 0.259", "Bold 5.12", f"d = {difference}"):
        assert shown in text
    assert f"{row['ours']:.2f} ± {row['sd']:.2f}" in text


@pytest.mark.documents
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (r"\gendistill{demo_error:ban/4}", "There is no cell demo_error:ban/4 in results/tables"),
        (r"\gendistill[median]{demo_error:ban/3}", "There is no part median of a cell"),
        (r"\gendistill[published]{demo_error:ban/3}", "Cell demo_error:ban/3 has no published value"),
        (r"\begin{tabular}{l}\gendistill{no_1~_&/2}\end{tabular}", "There is no cell no_1~_&/2 in"),
    ],
)
def test_a_macro_that_has_no_value_stops_latex(latex, tmp_path, body, message):
    (tmp_path / "macros.tex").write_text(macros([study()], [], []))
    source = f"\\documentclass{{article}}\\input{{macros.tex}}\\begin{{document}}{body}\\end{{document}}"
    (tmp_path / "all.tex").write_text(source)
    command = [latex, "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    own = {**os.environ, "max_print_line": "1000"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, errors="replace", env=own)
    assert done.returncode == 1
    assert not (tmp_path / "all.pdf").exists()
    assert message in done.stdout
