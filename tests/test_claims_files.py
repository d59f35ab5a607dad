"""The files of verdicts: what they say, and that LaTeX takes them."""

import io
import math
import re

import pandas as pd
import pytest

from gendistill.results.claims import judge
from gendistill.results.claims_files import claims_files
from gendistill.results.macros import macros
from tests import made_up_report
from tests.test_tables_latex import compiled

NOT_TESTED = {
    "name": "gone",
    "says": "50 % & more | less.",
    "source": "X_1",
    "not_tested": "no row",
    "comparisons": [],
}


@pytest.fixture
def judged():
    """One claim for each verdict, one of two comparisons, and one on rows that are not there."""
    content = made_up_report.claims("demo")
    return judge([{**content, "claims": [*content["claims"], NOT_TESTED]}])


def test_each_comparison_is_a_line_with_its_numbers(judged):
    frame = pd.read_csv(io.StringIO(claims_files(judged)["tables/claims.csv"]))
    told = [(claim["name"], each) for claim in judged for each in claim["comparisons"]]
    assert list(frame["name"]) == [claim["name"] for claim in judged for _ in claim["comparisons"] or [None]]
    assert frame["verdict"].iloc[-1] == "not tested" and frame["reason"].iloc[-1] == "no row"
    tested = frame[frame["metric"].notna()]
    for column in ("difference", "low", "high", "p", "adjusted_p", "n", "sd"):
        expected = [math.nan if each[column] is None else each[column] for _, each in told]
        assert list(tested[column]) == pytest.approx(expected, nan_ok=True), column
    assert list(tested["comparison_verdict"]) == [each["verdict"] for _, each in told]


def test_a_claim_of_two_comparisons_is_said_once(judged):
    text = claims_files(judged)["tables/claims.md"]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in text.splitlines() if line.startswith("|")][2:]
    assert len(rows) == sum(max(1, len(claim["comparisons"])) for claim in judged)
    both = next(n for n, row in enumerate(rows) if row[0] == "contradicted" and rows[n + 1][0] == "")
    assert rows[both + 1][1] == "" and rows[both + 1][3]
    assert rows[-1][:3] == ["not tested", r"50 % & more \| less. (X_1)", "no row"]


def test_without_claims_there_are_no_files():
    assert claims_files([]) == {}


def test_a_macro_for_each_verdict(judged):
    text = macros([], [], judged)
    for claim in judged:
        assert f"\\gendistill@cell{{claim:demo/{claim['name']}}}{{{{{claim['verdict']}}}" in text


@pytest.mark.documents
def test_claims_and_their_macros_compile(latex, tmp_path, judged):
    (tmp_path / "macros.tex").write_text(macros([], [], judged))
    body = (
        claims_files(judged)["tables/claims.tex"]
        + r"Both: \gendistill{claim:demo/both}; n = \gendistill[n]{claim:demo/reproduced}."
    )
    text = re.sub(r"\s+", " ", compiled(latex, tmp_path, body, r"\input{macros.tex}"))
    assert "Both: contradicted; n = " in text
    assert "not tested: 50 % & more | less." in text
    assert text.count("A student beats its teacher.") == len(judged) - 1
    # No reproduced claim without its numbers.
    (claim,) = (claim for claim in judged if claim["name"] == "reproduced")
    assert f"{claim['comparisons'][0]['difference']:+.2f} [" in text.replace("−", "-")


def test_whole_numbers_stay_whole_beside_a_claim_that_is_not_tested(judged):
    text = claims_files(judged)["tables/claims.csv"]
    frame = pd.read_csv(io.StringIO(text), dtype=str)
    assert frame["n"].dropna().map(str.isdecimal).all() and frame["n"].isna().any()


def test_what_was_chosen_on_the_test_images_is_marked(judged):
    claim = next(claim for claim in judged if claim["name"] == "reproduced")
    chosen = {**claim, "comparisons": [{**claim["comparisons"][0], "metric": "best_test_accuracy_pct"}]}
    assert "(best_test_accuracy_pct †)" in claims_files([chosen])["tables/claims.md"]
    assert "(test_error_pct)" in claims_files([claim])["tables/claims.md"]
