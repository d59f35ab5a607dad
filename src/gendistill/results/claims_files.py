"""The verdicts on claims as files: CSV with all numbers, and Markdown and LaTeX to read."""

import re
from typing import Any

import pandas as pd

from gendistill.results.claims_shown import chosen_mark, signed
from gendistill.results.inference import Comparison, p_text
from gendistill.results.latex import escape

NUMBERS = tuple(Comparison.__dataclass_fields__)
CAPTION = (
    "Claims of the papers, tested on the runs of this report. Difference: mean of the first minus mean of the second, over seeds "
    "(paired by seed where both have the same seeds), with a 95 % bootstrap interval. p: two-sided t-test (paired, or Welch's), "
    "corrected by Holm for all comparisons here. Reproduced or contradicted only with at least 3 seeds, an interval without zero "
    "and p < 0.05: with 3 seeds the interval cannot reach beyond the three values, which chance gives one sign one time in four. "
    "Seeds: how many would find a difference of this size and spread among all comparisons here, with a power of 80 %. "
    "†: an epoch or a generation chosen on the test images."
)


def claims_files(judged: list[dict[str, Any]]) -> dict[str, str]:
    """The files of the verdicts by their names below `results/`; none without claims.

    Args:
        judged: the claims as `gendistill.results.claims.judge` gives them.
    """
    if not judged:
        return {}
    text = readable_claims(judged)
    markdown = text.map(lambda cell: cell.replace("|", "\\|")).to_markdown(index=False, disable_numparse=True)
    return {
        "tables/claims.csv": claims_frame(judged).to_csv(index=False),
        "tables/claims.md": f"**Claims**. {CAPTION}\n\n{markdown}\n",
        "tables/claims.tex": _latex(judged),
    }


def claims_frame(judged: list[dict[str, Any]]) -> pd.DataFrame:
    """One row for each comparison of each claim, numbers as numbers."""
    rows = []
    for claim in judged:
        own = {key: claim[key] for key in ("study", "name", "says", "source", "verdict", "reason")}
        if not claim["comparisons"]:
            rows.append(own)
        for each in claim["comparisons"]:
            rows.append(
                {
                    **own,
                    **{key: each[key] for key in ("metric", "first", "is", "second")},
                    "comparison_verdict": each["verdict"],
                    **{key: each[key] for key in NUMBERS},
                    "adjusted_p": each["adjusted_p"],
                }
            )
    # Whole numbers stay whole beside claims without any.
    return pd.DataFrame(rows, dtype=object)


def readable_claims(judged: list[dict[str, Any]]) -> pd.DataFrame:
    """One row for each comparison as text; a claim's words and verdict stand in its first."""
    rows = []
    for claim in judged:
        said = {"verdict": claim["verdict"], "claim": f"{claim['says']} ({claim['source']})"}
        if not claim["comparisons"]:
            rows.append({**said, "comparison": claim["reason"], **dict.fromkeys(("difference", "p", "n", "seeds"), "–")})
        for number, each in enumerate(claim["comparisons"]):
            metric = f"{each['metric']}{chosen_mark(each['metric'])}"
            rows.append(
                {
                    **(said if number == 0 else dict.fromkeys(said, "")),
                    "comparison": f"{each['first']} {each['is']} than {each['second']} ({metric})",
                    "difference": _difference(each),
                    "p": "–" if each["adjusted_p"] is None else p_text(each["adjusted_p"]),
                    "n": str(each["n"]),
                    "seeds": "–" if each["power_seeds"] is None else str(each["power_seeds"]),
                }
            )
    return pd.DataFrame(rows)


def _latex(judged: list[dict[str, Any]]) -> str:
    """The claims as LaTeX: each with its verdict above its comparisons, in a table that breaks across pages."""
    heads = r"comparison & difference [95\,\% interval] & $p$ & $n$ & seeds \\"
    lines = [
        "% Needs \\usepackage{booktabs,longtable}.",
        r"{\footnotesize\setlength{\tabcolsep}{4pt}\setlength{\LTcapwidth}{\textwidth}",
        r"\begin{longtable}{@{}p{0.44\textwidth}rrrr@{}}",
        f"\\caption[Claims]{{{escape(CAPTION)}}}\\label{{tab:claims}} \\\\",
        f"\\toprule\n{heads}\n\\midrule\n\\endfirsthead",
        f"\\toprule\n{heads}\n\\midrule\n\\endhead",
        r"\bottomrule\endfoot",
    ]
    for claim in judged:
        said = f"\\textbf{{{escape(claim['verdict'])}}}: {escape(claim['says'])} ({escape(claim['source'])})"
        lines.append(f"\\multicolumn{{5}}{{@{{}}p{{0.97\\textwidth}}}}{{{said}}} \\\\*")
        own = readable_claims([claim])
        for number, row in enumerate(own.itertuples(index=False), start=1):
            comparison, difference, *others = map(escape, (row.comparison, row.difference, row.p, row.n, row.seeds))
            difference = re.sub(r"[+-](?=\d)", r"\\ensuremath{\g<0>}", difference)
            lines.append(" & ".join([comparison, difference, *others]) + (r" \\" if number == len(own) else r" \\*"))
        lines.append(r"\addlinespace")
    return "\n".join([*lines, r"\end{longtable}\par}", ""])


def _difference(comparison: dict[str, Any]) -> str:
    """The difference with its interval; of one run there is none."""
    if comparison["low"] is None:
        return signed(comparison["difference"])
    return f"{signed(comparison['difference'])} [{signed(comparison['low'])}, {signed(comparison['high'])}]"
