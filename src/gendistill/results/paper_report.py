"""How a published table is shown: printed values and ours side by side, as CSV, Markdown and a section of the report."""

from typing import Any

import pandas as pd

from gendistill.plan.cells import CHOSEN_ON_TEST

CAPTION = (
    "Published values beside ours: mean ± standard deviation (median where the paper prints one) over n seeds, last epoch unless "
    "marked †. The best epoch or generation (†) is chosen afterwards, on the test images unless a validation split is set, so it "
    "is too good. Difference: ours minus published."
)
SMOKE = "At scale smoke: small networks, few images, a few epochs. It shows that every step runs; the numbers mean nothing."
HEADINGS = {"row": "row", "network": "network", "dataset": "data set", "method": "method", "generation": "gen.", "metric": "metric"}


def paper_frame(content: dict[str, Any]) -> pd.DataFrame:
    """All rows of a table with numbers as numbers: what the CSV file has."""
    return pd.DataFrame(content["rows"])


def readable_paper(content: dict[str, Any]) -> tuple[pd.DataFrame, list[str]]:
    """The table as text, and its footnotes: remarks on printed values, each once."""
    notes: list[str] = []
    rows = []
    for row in content["rows"]:
        shown = {heading: row[column] for column, heading in HEADINGS.items()}
        if row["metric"] in CHOSEN_ON_TEST:
            shown["metric"] += " †"
        mark = ""
        if row["note"]:
            if row["note"] not in notes:
                notes.append(row["note"])
            mark = f" [{notes.index(row['note']) + 1}]"
        spread = f" ± {row['published_spread']}" if row["published_spread"] else ""
        shown["published"] = f"{row['published'] or '–'}{spread}{mark}"
        shown["ours"] = ours(row)
        shown["n"] = str(row["n"] or "–")
        digits = 4 if row["ours"] is not None and abs(row["ours"]) < 1 else 2
        shown["difference"] = "–" if row["difference"] is None else f"{row['difference']:+.{digits}f}"
        rows.append(shown)
    frame = pd.DataFrame(rows)
    if frame["data set"].nunique() == 1:
        # The title says it.
        frame = frame.drop(columns="data set")
    return frame, notes


def ours(row: dict[str, Any]) -> str:
    """Our value as text, or why there is none."""
    if row["not_run"]:
        return f"not run: {row['not_run']}"
    if row["ours"] is None:
        return "–"
    digits = 4 if abs(row["ours"]) < 1 else 2
    spread = "" if row["sd"] is None else f" ± {row['sd']:.{digits}f}"
    return f"{row['ours']:.{digits}f}{'' if row['metric'] == 'params_millions' else spread}"


def paper_markdown(content: dict[str, Any]) -> str:
    """The table, its footnotes and our choices as Markdown."""
    frame, notes = readable_paper(content)
    lines = [f"**{content['title']}** ({content['table']}). {CAPTION}", ""]
    lines += [SMOKE, ""] if content["scale"] == "smoke" else []
    # Some printed names have a bar, which would end a cell.
    frame = frame.map(lambda text: text.replace("|", "\\|"))
    lines += [frame.to_markdown(index=False, disable_numparse=True), ""]
    lines += [f"[{n}] {note}  " for n, note in enumerate(notes, start=1)]
    if content["choices"]:
        lines += ["", "Our choices where the paper is silent or contradicts itself:", ""]
        lines += [f"- {c['setting']}: {c['choice']}. {c['why']}" for c in content["choices"]]
    return "\n".join(lines) + "\n"


def paper_metrics(content: dict[str, Any]) -> dict[str, Any]:
    """Mean, standard deviation and n of each row that was run, for `dvc metrics`."""
    found: dict[str, Any] = {}
    for row in content["rows"]:
        if row["ours"] is not None:
            key = " ".join(row[c] for c in ("row", "network", "dataset", "method", "generation") if row[c])
            values = {"n": row["n"], "mean": row["ours"], "sd": row["sd"]}
            found.setdefault(key, {})[row["metric"]] = {k: v for k, v in values.items() if v is not None}
    return found


def paper_section(content: dict[str, Any]) -> dict[str, Any]:
    """What the report's template shows of a table."""
    frame, notes = readable_paper(content)
    name = content["table"]
    table = {"id": f"{name}-table", "title": "Published and ours", "caption": CAPTION, "frame": frame, "csv": f"tables/{name}.csv"}
    warning = SMOKE if content["scale"] == "smoke" else ""
    return {
        "name": name,
        "description": content["title"],
        "warning": warning,
        "tables": [table],
        "notes": notes,
        "choices": content["choices"],
    }
