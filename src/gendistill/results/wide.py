"""A published table in the paper's own shape: its lines and columns, with our numbers beside the printed ones."""

import re
from dataclasses import dataclass
from typing import Any

from gendistill.plan.cells import CHOSEN_ON_TEST

NONE = "–"
NOT_RUN = "not run"
METRICS = {
    "params_millions": "parameters, millions",
    "test_error_pct": "test error %",
    "test_error_pct_last_epoch": "last-epoch test error %",
    "test_error_pct_best_epoch": "best-epoch test error %",
    "test_error_pct_mean": "mean test error %",
    "test_error_pct_median": "median test error %",
    "top1_error_pct": "top-1 error %",
    "top5_error_pct": "top-5 error %",
    "test_accuracy_pct": "test accuracy %",
    "top1_accuracy_pct": "top-1 accuracy %",
    "top5_accuracy_pct": "top-5 accuracy %",
    "top1_accuracy_gain_points": "gain in top-1 accuracy, points",
    "ap50_pct": "AP50 %",
    "train_accuracy_pct": "train accuracy %",
    "best_test_accuracy_pct": "best test accuracy %",
    "perplexity_val": "validation perplexity",
    "perplexity_test": "test perplexity",
    **{f"confidence_top{k}_pct": f"top {k} %" for k in range(1, 5)},
    "kd_error_train_pct": "KD error train %",
    "kd_error_test_pct": "KD error test %",
    "ce_loss_train": "CE loss train",
    "kd_loss_train": "KD loss train",
    "kd_loss_test": "KD loss test",
    "dist_c_train": "DistC train",
    "dist_s_train": "DistS train",
    "dist_c_test": "DistC test",
    "dist_s_test": "DistS test",
    "second_class_in_superclass_train_pct": "second class in superclass, train %",
    "second_class_in_superclass_test_pct": "second class in superclass, test %",
}
LABELS = {"row": "row", "network": "network", "dataset": "data set", "method": "method", "generation": "gen.", "metric": "metric"}


# Of the text that the numbers were typed from, and that a cell prints nothing, as can be seen.
TRANSCRIPTION = re.compile(r"reassembled|extraction|^cell printed|^equal to the workshop|heading printed")


@dataclass(frozen=True)
class Cell:
    """A number of a published table and ours, as text.

    Attributes:
        published: as printed, with the printed spread; `–` if the paper prints none.
        ours: mean and standard deviation; `not run`, or `–` if there is none.
        difference: ours minus published; `–` if there is none.
        n: the number of seeds; `–` if there is none.
        notes: the numbers of its footnotes, from 1.
        chosen_on_test: whether an epoch or a generation was chosen on the test images.
        why_not: why it is not run; empty if it is.
        row: its index among the rows of the table's content.
    """

    published: str
    ours: str
    difference: str
    n: str
    notes: tuple[int, ...]
    chosen_on_test: bool
    why_not: str
    row: int


@dataclass(frozen=True)
class WideTable:
    """A published table in the paper's shape.

    Attributes:
        labels: headings of what names a line.
        columns: headings of the columns.
        rows: the lines: what names each, and its cells, None where the paper's table has none.
        notes: the footnotes, of which number 1 is the first.
    """

    labels: list[str]
    columns: list[str]
    rows: list[tuple[list[str], list[Cell | None]]]
    notes: list[str]


def wide(content: dict[str, Any]) -> WideTable:
    """The table of a `table.json` in the paper's shape.

    Its footnotes, each once: remarks on printed values, contradictions in the papers, and why a cell is not run.
    """
    layout = content["layout"]
    notes: list[str] = []

    def number(text: str) -> int:
        if text not in notes:
            notes.append(text)
        return notes.index(text) + 1

    cells: list[list[Cell | None]] = [[None] * len(layout["columns"]) for _ in layout["lines"]]
    for n, (row, place) in enumerate(zip(content["rows"], layout["places"], strict=True)):
        if place:
            said = [printed_remark(row["note"]), *(note["text"] for note in content["notes"] if n in note["rows"]), row["not_run"]]
            cells[place[0]][place[1]] = _cell(n, row, tuple(sorted({number(text) for text in said if text})))
    for note in content["notes"]:
        if not note["rows"]:
            number(note["text"])
    # A line without a printed name is named by its method.
    named = [[text or _method(content, n) for text in line] for n, line in enumerate(layout["lines"])]
    lines = [[_worded(label, text) for label, text in zip(layout["labels"], line, strict=True)] for line in named]
    columns = [", ".join(_worded(label, text) for label, text in parts) or NONE for parts in layout["columns"]]
    return WideTable([LABELS[label] for label in layout["labels"]], columns, list(zip(lines, cells, strict=True)), notes)


def printed_remark(note: str) -> str:
    """A remark of a reference file without what it tells of the transcription only."""
    return "; ".join(part for part in note.split("; ") if not TRANSCRIPTION.search(part))


def lines(table: WideTable, line: int) -> list[tuple[str, list[str]]]:
    """What is printed of a line of the table, one below the other: `published`, `ours` and `difference`, those that there are.

    Footnotes are numbers in brackets; † marks what was chosen on the test images; n is told where it is not the same everywhere.
    """
    cells = table.rows[line][1]
    found = []
    if any(cell.published != NONE for _, row in table.rows for cell in row if cell):
        found.append(("published", [_published(table, cell) for cell in cells]))
    found.append(("ours", [_ours(table, cell) for cell in cells]))
    if any(cell.difference != NONE for cell in cells if cell):
        found.append(("difference", [cell.difference if cell else "" for cell in cells]))
    return found


def same_n(table: WideTable) -> str:
    """The number of seeds if it is the same in all cells that were run, else empty."""
    counts = {cell.n for _, row in table.rows for cell in row if cell and cell.n != NONE}
    return counts.pop() if len(counts) == 1 else ""


def digits(row: dict[str, Any]) -> int:
    """Decimals of our value; percent and percentage points have two, however small they are."""
    return 4 if abs(row["ours"]) < 1 and not row["metric"].endswith(("_pct", "_points")) else 2


def ours(row: dict[str, Any]) -> str:
    """Our value as text, or that there is none."""
    if row["ours"] is None:
        return NOT_RUN if row["not_run"] else NONE
    places = digits(row)
    # A number of parameters does not vary.
    spread = "" if row["sd"] is None or row["metric"] == "params_millions" else f" ± {row['sd']:.{places}f}"
    return f"{row['ours']:.{places}f}{spread}"


def _cell(n: int, row: dict[str, Any], notes: tuple[int, ...]) -> Cell:
    spread = f" ± {row['published_spread']}" if row["published_spread"] else ""
    difference = NONE if row["difference"] is None else f"{row['difference']:+.{digits(row)}f}"
    return Cell(
        published=f"{row['published']}{spread}" if row["published"] else NONE,
        ours=ours(row),
        difference=difference,
        n=str(row["n"] or NONE),
        notes=notes,
        chosen_on_test=row["metric"] in CHOSEN_ON_TEST,
        why_not=row["not_run"],
        row=n,
    )


def _published(table: WideTable, cell: Cell | None) -> str:
    if cell is None:
        return ""
    own = [str(n) for n in cell.notes if table.notes[n - 1] != cell.why_not]
    dagger = " †" if cell.chosen_on_test and cell.published != NONE else ""
    marks = f" [{', '.join(own)}]" if own else ""
    return f"{cell.published}{dagger}{marks}"


def _ours(table: WideTable, cell: Cell | None) -> str:
    if cell is None:
        return ""
    if cell.why_not:
        return f"{cell.ours} [{table.notes.index(cell.why_not) + 1}]"
    dagger = " †" if cell.chosen_on_test and cell.ours != NONE else ""
    count = f" (n = {cell.n})" if cell.n != NONE and not same_n(table) else ""
    return f"{cell.ours}{dagger}{count}"


def _method(content: dict[str, Any], line: int) -> str:
    """The method of the first number of a line."""
    places = content["layout"]["places"]
    return next(row["method"] for row, place in zip(content["rows"], places, strict=True) if place and place[0] == line)


def _worded(label: str, text: str) -> str:
    """A label's value as people read it."""
    if label == "metric":
        return METRICS.get(text, text)
    return f"gen. {text}" if label == "generation" and text else text or NONE
