"""Tables as LaTeX: for a plain document that loads booktabs and longtable."""

import math
import re
import textwrap

import pandas as pd

# In points: the text of an article, and what a column takes besides its text.
TEXT_WIDTH, BETWEEN = 345, 8
# Of lines in the small print of tables on a page of an article.
PAGE_LINES = 50
NOTE_CHARACTERS = 85
LABEL_CHARACTERS, HEAD_CHARACTERS = 26, 13
SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "%": r"\%",
    "_": r"\_",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "`": r"\textasciigrave{}",
    # The font encoding of a plain document has no upright double quote.
    '"': "''",
    # After a line break these two would be an argument of it.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "±": r"\ensuremath{\pm}",
    "×": r"\ensuremath{\times}",
    "→": r"\ensuremath{\rightarrow}",
    "≥": r"\ensuremath{\geq}",
    "≤": r"\ensuremath{\leq}",
    "−": r"\ensuremath{-}",
    "†": r"\textdagger{}",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "°": r"\textdegree{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "\n": " ",
    "\0": "{}",
}
GREEK = dict(zip("αβγεηλμσ", ("alpha", "beta", "gamma", "epsilon", "eta", "lambda", "mu", "sigma"), strict=True))
# Letters that the font encoding of a plain document has not.
NOT_IN_OT1 = "ÐðÞþĄąĐđĘęĢģĦħĮįĶķĸĻļŅņŉŊŋŖŗŢţŦŧŲųſĿŀ"
MARKS = re.compile(r"(?: (†))?(?: \[([\d, ]+)\])?$")


def escape(text: str) -> str:
    """Any text as LaTeX that prints it; of a character that LaTeX does not know, its number."""
    # Two hyphens would become a dash: what stands between them keeps them apart.
    return "".join(map(_character, re.sub("-(?=-)", "-\0", text)))


def number(text: str) -> str:
    """A value as LaTeX: a sign before it is one of mathematics; † and footnotes, in brackets, after it are raised."""
    body = re.sub(r"^([+-])(?=\d)", r"\\ensuremath{\1}", escape(MARKS.sub("", text, count=1)))
    marks = _marks(text)
    return f"{body}\\textsuperscript{{{escape(marks)}}}" if marks else body


def frame_latex(frame: pd.DataFrame, caption: str, label: str) -> str:
    r"""A table of text as LaTeX; one that is too wide in parts, each with the columns that name its rows.

    Args:
        frame: of text. What names a row stands left of the first column with a spread (` ± `, or `(one run)`).
        caption: plain text.
        label: for `\ref`.
    """
    columns = list(frame.columns)
    spread = [any(" ± " in text or text.endswith("(one run)") for text in frame[column]) for column in columns]
    fixed = spread.index(True) if True in spread else 1
    groups = [[wrapped(text, LABEL_CHARACTERS) for text in row] for row in frame.itertuples(index=False)]
    return table_latex(columns, fixed, groups, caption, label)


def _marks(text: str) -> str:
    """What is raised after a value: `†,1,2`."""
    found = MARKS.search(text)
    return ",".join(filter(None, (found[1], (found[2] or "").replace(" ", "")))) if found else ""


def wrapped(text: str, characters: int) -> list[str]:
    """A text in lines, broken at blanks."""
    return textwrap.wrap(text, characters, break_long_words=False, break_on_hyphens=False) or [""]


def fits(heads: list[str], fixed: int, groups: list[list[list[str]]]) -> bool:
    """Whether a table is no wider than a page: arguments as of `table_latex`."""
    return len(_parts(heads, fixed, groups)) == 1


def table_latex(
    heads: list[str],
    fixed: int,
    groups: list[list[list[str]]],
    caption: str,
    label: str,
    notes: list[str] | None = None,
    remarks: tuple[str, list[str]] = ("", []),
) -> str:
    r"""A table as LaTeX: one that floats with its footnotes, or, where that is longer than a page, one that breaks across pages.

    Args:
        heads: of each column.
        fixed: how many columns name a row; of a table too wide for a page each part has them.
        groups: rows: for each column its lines of text.
        caption: plain text; its first sentence alone goes into a list of tables.
        label: for `\ref`.
        notes: numbered footnotes.
        remarks: a heading and a list, below the footnotes.
    """
    parts = _parts(heads, fixed, groups)
    height = sum(sum(_height(group) + 0.5 for group in groups) + 4 for _ in parts)
    texts = [caption, *(notes or []), *remarks[1]]
    height += sum(math.ceil(len(text) / NOTE_CHARACTERS) for text in texts)
    below = _notes(notes or [], remarks)
    title = f"\\caption[{escape(caption.partition('. ')[0].removesuffix('.'))}]{{{escape(caption)}}}\\label{{{label}}}"
    small = r"\footnotesize\setlength{\tabcolsep}{4pt}"
    if height <= PAGE_LINES:
        inner = "\n\\par\\bigskip\n".join(_tabular(heads, part, fixed, groups) for part in parts)
        body = f"\\begin{{table}}[htbp]\n\\centering{small}\n{title}\n\\par\\medskip\n{inner}\n{below}\\end{{table}}\n"
    else:
        tables = "\n\\addtocounter{table}{-1}\n".join(
            _longtable(heads, part, fixed, groups, title if n == 0 else "") for n, part in enumerate(parts)
        )
        body = f"{{{small}\\setlength{{\\LTcapwidth}}{{\\textwidth}}\n{tables}\n{below}\\par}}\n"
    return f"% Needs \\usepackage{{booktabs,longtable}}.\n{body}"


def _character(character: str) -> str:
    if character in SPECIAL:
        return SPECIAL[character]
    # LaTeX knows most Latin letters with accents by itself.
    if ord(character) < 127 or (0xC0 <= ord(character) <= 0x17F and character not in NOT_IN_OT1):
        return character
    return rf"\ensuremath{{\{GREEK[character]}}}" if character in GREEK else rf"\texttt{{U+{ord(character):04X}}}"


def _height(group: list[list[str]]) -> int:
    return max(len(column) for column in group)


def _width(text: str) -> float:
    """About how wide a text is in the small print of tables, in points."""
    marks = _marks(text)
    text = MARKS.sub("", text, count=1) + marks[: math.ceil(len(marks) * 0.7)]
    sizes = (
        0.83 if c in "mwMW±→" else 0.3 if c in " ijltfr.,:;'|()[]" else 0.72 if c.isupper() or c == "%" else 0.53 for c in text
    )
    return 8.5 * sum(sizes)


def _parts(heads: list[str], fixed: int, groups: list[list[list[str]]]) -> list[list[int]]:
    """The columns besides the fixed ones, in as many parts as fit a page, about equally many in each."""
    widths = []
    for column, head in enumerate(heads):
        texts = [
            *wrapped(head, LABEL_CHARACTERS if column < fixed else HEAD_CHARACTERS),
            *(line for group in groups for line in group[column]),
        ]
        widths.append(max(map(_width, texts)) + BETWEEN)
    room = TEXT_WIDTH - sum(widths[:fixed])
    free = list(range(fixed, len(heads)))
    for count in range(1, len(free) + 1):
        size = math.ceil(len(free) / count)
        parts = [free[start : start + size] for start in range(0, len(free), size)]
        if all(sum(widths[column] for column in part) <= room for part in parts):
            return parts
    return [[column] for column in free]


def _rows(heads: list[str], part: list[int], fixed: int, groups: list[list[list[str]]]) -> tuple[str, list[str]]:
    """The heading and the rows of a part of a table."""
    columns = [*range(fixed), *part]
    tops = [wrapped(heads[column], LABEL_CHARACTERS if column < fixed else HEAD_CHARACTERS) for column in columns]
    deepest = max(map(len, tops))
    # Headings stand on the line below them.
    tops = [[""] * (deepest - len(top)) + top for top in tops]
    head = "\n".join(" & ".join(escape(top[line]) for top in tops) + r" \\" for line in range(deepest))
    rows = []
    for group in groups:
        if not any(any(group[column]) for column in part):
            # It has values in other parts only.
            continue
        height = _height(group)
        lines = []
        for line in range(height):
            texts = [group[column][line] if line < len(group[column]) else "" for column in columns]
            lines.append(" & ".join((escape if n < fixed else number)(text) for n, text in enumerate(texts)))
        # A group of lines stays on one page.
        rows.append(" \\\\*\n".join(lines) + r" \\")
    return head, rows


def _between(groups: list[list[list[str]]]) -> str:
    return "\n\\addlinespace\n" if any(_height(group) > 1 for group in groups) else "\n"


def _tabular(heads: list[str], part: list[int], fixed: int, groups: list[list[list[str]]]) -> str:
    head, rows = _rows(heads, part, fixed, groups)
    shape = "@{}" + "l" * fixed + "r" * len(part) + "@{}"
    body = _between(groups).join(rows).replace(r"\\*", r"\\")
    return f"\\begin{{tabular}}{{{shape}}}\n\\toprule\n{head}\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}"


def _longtable(heads: list[str], part: list[int], fixed: int, groups: list[list[list[str]]], title: str) -> str:
    head, rows = _rows(heads, part, fixed, groups)
    count = fixed + len(part)
    shape = "@{}" + "l" * fixed + "r" * len(part) + "@{}"
    top = f"\\toprule\n{head}\n\\midrule"
    title = f"{title} \\\\\n" if title else ""
    return (
        f"\\begin{{longtable}}{{{shape}}}\n{title}{top}\n\\endfirsthead\n"
        f"\\multicolumn{{{count}}}{{@{{}}l}}{{\\emph{{continued}}}} \\\\\n{top}\n\\endhead\n"
        f"\\midrule\n\\multicolumn{{{count}}}{{r@{{}}}}{{\\emph{{continued on the next page}}}} \\\\\n\\endfoot\n"
        f"\\bottomrule\n\\endlastfoot\n{_between(groups).join(rows)}\n\\end{{longtable}}"
    )


def _notes(notes: list[str], remarks: tuple[str, list[str]]) -> str:
    """Numbered footnotes, and remarks, as lists below a table."""
    margins = r"{\setlength{\leftmargin}{1.6em}\setlength{\labelwidth}{1.2em}\setlength{\labelsep}{0.4em}\setlength{\topsep}{2pt}"
    margins += r"\setlength{\itemsep}{0pt}\setlength{\parsep}{0pt}}"
    text = ""
    for heading, marks, items in (
        ("", [f"\\textsuperscript{{{n}}}" for n in range(1, len(notes) + 1)], notes),
        (remarks[0], ["--"] * len(remarks[1]), remarks[1]),
    ):
        if items:
            listed = "\n".join(f"\\item[{mark}] {escape(item)}" for mark, item in zip(marks, items, strict=True))
            title = f"{escape(heading)}\n" if heading else ""
            text += f"{title}\\begin{{list}}{{}}{margins}\n{listed}\n\\end{{list}}\n"
    return f"\\par\\medskip\n\\begingroup\\raggedright\n{text}\\par\\endgroup\n" if text else ""
