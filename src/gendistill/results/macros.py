r"""Single numbers as LaTeX macros: a text that says `\gendistill{demo_error:ban/3}` prints what the results say."""

from collections.abc import Iterator
from typing import Any

from gendistill.plan.tables import TABLES
from gendistill.results.claims_shown import signed
from gendistill.results.latex import escape, number
from gendistill.results.wide import digits, ours

PARTS = ("mean", "sd", "n", "published", "difference")
HEAD = r"""% Single numbers of the results, for the text of a paper:
%   \input{results/tables/macros.tex}
%   \gendistill{demo_error:ban/3}               mean and standard deviation of the table's first metric
%   \gendistill{demo_error:ban/3:train_error_pct}    of another
%   \gendistill{efficacy_table4:2}              row 2 of a published table
%   \gendistill{claim:demo/NAME}                the verdict on a claim
%   \gendistill[mean]{...}                      one part: mean, sd, n, published or difference
% gendistill provenance CELL, without the metric, tells where a number comes from.
\makeatletter
\DeclareRobustCommand{\gendistill}[2][text]{%
  \@ifundefined{gendistill@\detokenize{#2}}{%
    \PackageError{gendistill}{There is no cell \detokenize{#2} in results/tables}{Its names are in results/tables/macros.tex.}%
  }{%
    \@ifundefined{gendistill@part@#1}{%
      \PackageError{gendistill}{There is no part \detokenize{#1} of a cell}{Parts: mean, sd, n, published, difference.}%
    }{%
      \edef\gendistill@asked{\detokenize{#2}}%
      \csname gendistill@part@#1\expandafter\expandafter\expandafter\endcsname\csname gendistill@\detokenize{#2}\endcsname
    }%
  }%
}
\def\gendistill@or@none#1#2{%
  \if\relax\detokenize{#2}\relax
    \PackageError{gendistill}{Cell \gendistill@asked\space has no #1}{See its line in results/tables/macros.tex.}%
  \else#2\fi
}
\def\gendistill@part@text#1#2#3#4#5#6{\gendistill@or@none{value of ours}{#1}}
\def\gendistill@part@mean#1#2#3#4#5#6{\gendistill@or@none{mean}{#2}}
\def\gendistill@part@sd#1#2#3#4#5#6{\gendistill@or@none{sd}{#3}}
\def\gendistill@part@n#1#2#3#4#5#6{\gendistill@or@none{n}{#4}}
\def\gendistill@part@published#1#2#3#4#5#6{\gendistill@or@none{published value}{#5}}
\def\gendistill@part@difference#1#2#3#4#5#6{\gendistill@or@none{difference}{#6}}
\def\gendistill@cell#1#2{\expandafter\def\csname gendistill@\detokenize{#1}\endcsname{#2}}
% Cell; what is printed, mean, sd, n, published, difference.
"""


def macros(studies: list[dict[str, Any]], published: list[dict[str, Any]], judged: list[dict[str, Any]]) -> str:
    r"""The file that defines `\gendistill`.

    A cell is named as for `gendistill provenance`: TABLE:LABELS, or TABLE:NUMBER in a published table. Of an experiment's
    table that is its first metric; of the others their name follows after a colon. What is not known stops LaTeX.

    Args:
        studies: the contents of the experiments' `tables.json`.
        published: those of the published tables' `table.json`.
        judged: the claims with their verdicts, as `gendistill.results.claims.judge` gives them.
    """
    cells = [cell for content in studies for cell in _own(content)] + [cell for content in published for cell in _printed(content)]
    cells += [_judged(claim) for claim in judged]
    lines = [f"\\gendistill@cell{{{name}}}{{{''.join(f'{{{value}}}' for value in values)}}}" for name, values in cells]
    return HEAD + "\n".join([*lines, r"\makeatother"]) + "\n"


def _own(content: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """The cells of an experiment's tables: name, and text, mean, sd, n, published and difference, empty where there is none."""
    for table, records in content["summaries"].items():
        labels, metrics = TABLES[table]
        for record in records:
            name = f"{content['experiment']}_{table}:{'/'.join(str(record[label]) for label in labels)}"
            for metric in metrics:
                mean, sd = record.get(f"{metric}_mean"), record.get(f"{metric}_sd")
                if mean is not None:
                    shown = [f"{value:.2f}" if value is not None else "" for value in (mean, sd)]
                    text = f"{shown[0]} ± {shown[1]}" if shown[1] else f"{shown[0]} (one run)"
                    values = [escape(text), *map(number, shown), str(record["n"]), "", ""]
                    yield name if metric == metrics[0] else f"{name}:{metric}", values


def _printed(content: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """The cells of a published table, by the number of the row."""
    for n, row in enumerate(content["rows"], start=1):
        spread = f" ± {row['published_spread']}" if row["published_spread"] else ""
        values = ["", "", "", ""]
        difference = ""
        if row["ours"] is not None:
            places = digits(row)
            text = ours(row) if row["n"] > 1 or row["metric"] == "params_millions" else f"{ours(row)} (one run)"
            sd = "" if row["sd"] is None else f"{row['sd']:.{places}f}"
            values = [escape(text), f"{row['ours']:.{places}f}", sd, str(row["n"])]
            difference = "" if row["difference"] is None else number(f"{row['difference']:+.{places}f}")
        yield f"{content['table']}:{n}", [*values, escape(f"{row['published']}{spread}"), difference]


def _judged(claim: dict[str, Any]) -> tuple[str, list[str]]:
    """The verdict on a claim; of one comparison also its n and difference."""
    n = difference = ""
    if len(claim["comparisons"]) == 1:
        (each,) = claim["comparisons"]
        n, difference = str(each["n"]), number(signed(each["difference"]))
    return f"claim:{claim['study']}/{claim['name']}", [escape(claim["verdict"]), "", "", n, "", difference]
