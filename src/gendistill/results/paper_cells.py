"""A published table for the report's template: its cells in the paper's own shape, and the runs behind them."""

from typing import Any

from gendistill.results.paper_report import paper_section
from gendistill.results.wide import LABELS, NONE, Cell, WideTable


def paper_page(content: dict[str, Any]) -> dict[str, Any]:
    """What the report's template shows of a published table.

    Args:
        content: of `table.json`.

    Returns:
        What `paper_section` gives, with `tables`: one, whose cells have lines of text and what they are sorted by.
    """
    section = paper_section(content)
    name = section["name"]
    groups = _groups(content)
    links = {group["row"]: f"#{group['id']}" for group in groups}
    wide: WideTable = section["wide"]
    rows = []
    for labels, cells in wide.rows:
        shown = [{"text": label, "sort": _number(label)} for label in labels]
        rows.append([*shown, *(_cell(cell, content, links, wide.notes) for cell in cells)])
    table = {
        "id": f"{name}-table",
        "title": "Published and ours",
        "caption": f"{section['caption']} A column is sorted by our values.",
        "files": section["files"],
        "columns": [{"text": t, "number": False} for t in wide.labels] + [{"text": t, "number": True} for t in wide.columns],
        "rows": rows,
        "notes": wide.notes,
        "runs": {"columns": ["value"], "groups": groups},
    }
    return {**section, "tables": [table]}


def _cell(cell: Cell | None, content: dict[str, Any], links: dict[int, str], notes: list[str]) -> dict[str, Any]:
    """One cell as lines: the published value, ours, and the difference with n; empty where the paper has none."""
    if cell is None:
        return {"text": "", "sort": ""}
    value = content["rows"][cell.row]["ours"]
    marks = {n: f"#{content['table']}-note-{n}" for n in cell.notes}
    why = {n: href for n, href in marks.items() if notes[n - 1] == cell.why_not}
    small = [cell.difference, f"n = {cell.n}"]
    return {
        "text": cell.ours,
        "sort": "" if value is None else value,
        "href": links.get(cell.row, ""),
        "mark": "†" if cell.chosen_on_test else "",
        "notes": why,
        "published": "" if cell.published == NONE else cell.published,
        "published_notes": {n: href for n, href in marks.items() if n not in why},
        "small": ", ".join(part for part in small if not part.endswith(NONE)),
    }


def _number(text: str) -> float | str:
    """The number that a text begins with, or the text."""
    try:
        return float(text.split(" ")[0])
    except ValueError:
        return text


def _groups(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs of each row that has some."""
    groups = []
    for n, row in enumerate(content["rows"]):
        if not row["runs"]:
            continue
        labels = ", ".join(row[key] for key in LABELS if row[key])
        lines = [
            {"labels": labels, "seed": run["seed"], "values": [f"{run['value']:.4f}"], "steps": run["steps"]} for run in row["runs"]
        ]
        command = f"gendistill provenance {content['table']}:{n + 1}"
        groups.append({"row": n, "id": f"{content['table']}-{n + 1}", "command": command, "lines": lines})
    return groups
