"""How a published table is shown: printed values and ours side by side, as CSV, Markdown, LaTeX and a section of the report."""

from typing import Any

import pandas as pd

from gendistill.plan.cells import CHOSEN_ON_TEST, COLUMNS, slug
from gendistill.results.latex import LABEL_CHARACTERS, fits, table_latex, wrapped
from gendistill.results.wide import METRICS, NOT_RUN, WideTable, lines, same_n, wide

SMOKE = "At scale smoke: small networks, few images, a few epochs. It shows that every step runs; the numbers mean nothing."
CHOICES = "Our choices where the paper is silent or contradicts itself:"
# What the files of a table are, and how their names end.
FILES = {"CSV": ".csv", "CSV, wide": "_wide.csv", "CSV of runs": "_runs.csv", "Markdown": ".md", "LaTeX": ".tex"}
CHOSEN = (
    "†: the best epoch or generation, chosen afterwards, on the test images unless a validation split is set: too good. "
    "All others: the last epoch."
)


def caption_of(content: dict[str, Any], table: WideTable) -> str:
    """What the numbers of a table are, in plain words."""
    rows = content["rows"]
    shown = {label for parts in content["layout"]["columns"] for label, _ in parts} | set(content["layout"]["labels"])
    about = ""
    if "metric" not in shown:
        about = ", ".join(dict.fromkeys(METRICS.get(row["metric"], row["metric"]) for row in rows))
    if "dataset" not in shown:
        about += f" on {', '.join(dict.fromkeys(row['dataset'] for row in rows if row['dataset']))}"
    about = f"{about.strip()}. " if about else ""
    count = same_n(table)
    runs = (
        "one run, without a spread (n = 1)"
        if count == "1"
        else f"mean ± standard deviation over n {f'= {count} ' * bool(count)}seeds"
    )
    printed = any(row["published"] for row in rows)
    beside = "Published values, and ours below them" if printed else "Ours; the paper prints no numbers"
    median = ", the median where the paper prints one" if any(row["metric"].endswith("_median") for row in rows) else ""
    difference = " Difference: ours minus published." if any(row["difference"] is not None for row in rows) else ""
    chosen = f" {CHOSEN}" if any(row["metric"] in CHOSEN_ON_TEST for row in rows) else " The last epoch of each run."
    return f"{about[:1].upper()}{about[1:]}{beside}: {runs}{median}.{difference}{chosen}"


def paper_files(content: dict[str, Any]) -> dict[str, str]:
    """All files of a table by their paths below `results/`: CSV as long as printed rows, wide, and by run; Markdown; LaTeX."""
    texts = (
        paper_frame(content).to_csv(index=False),
        wide_frame(content).to_csv(index=False),
        runs_frame(content).to_csv(index=False),
        paper_markdown(content),
        paper_latex(content),
    )
    return {f"tables/{content['table']}{end}": text for end, text in zip(FILES.values(), texts, strict=True)}


def paper_frame(content: dict[str, Any]) -> pd.DataFrame:
    """All rows of a table with numbers as numbers, one for each printed number."""
    return pd.DataFrame(content["rows"]).drop(columns="runs")


def runs_frame(content: dict[str, Any]) -> pd.DataFrame:
    """Our value of each printed number for each seed, and the step that it comes from; several are told apart by blanks."""
    rows = [
        {**{label: row[label] for label in COLUMNS}, "seed": run["seed"], "value": run["value"], "step": " ".join(run["steps"])}
        for row in content["rows"]
        for run in row["runs"]
    ]
    return pd.DataFrame(rows, columns=[*COLUMNS, "seed", "value", "step"])


def wide_frame(content: dict[str, Any]) -> pd.DataFrame:
    """The table in the paper's shape, with five columns for each of the paper's: published, ours, sd, n and difference."""
    table = wide(content)
    columns: list[list[Any]] = [list(column) for column in zip(*(labels for labels, _ in table.rows), strict=True)]
    names = list(table.labels)
    for n, name in enumerate(table.columns):
        cells = [row[n] for _, row in table.rows]
        own = [content["rows"][cell.row] if cell else None for cell in cells]
        columns.append([row["published"] if row else None for row in own])
        columns.append([NOT_RUN if row and row["not_run"] else row["ours"] if row else None for row in own])
        columns += [[row[key] if row else None for row in own] for key in ("sd", "n", "difference")]
        names += [f"{name}: {what}" for what in ("published", "ours", "sd", "n", "difference")]
    # Of whole numbers that are missing in places none is to become 3.0.
    return pd.DataFrame(dict(enumerate(columns)), dtype=object).set_axis(names, axis="columns")


def shown_frame(table: WideTable) -> pd.DataFrame:
    """The table as text: below each other what is published, ours, and the difference."""
    rows = []
    for n, (labels, _) in enumerate(table.rows):
        for place, (name, texts) in enumerate(lines(table, n)):
            rows.append([*(labels if place == 0 else [""] * len(labels)), name, *texts])
    frame = pd.DataFrame(rows)
    return frame.set_axis([*table.labels, "", *table.columns], axis="columns")


def paper_markdown(content: dict[str, Any]) -> str:
    """The table, its footnotes and our choices as Markdown."""
    table = wide(content)
    text = [f"**{content['title']}** ({content['table']}). {caption_of(content, table)}", ""]
    text += [SMOKE, ""] if content["scale"] == "smoke" else []
    # Some printed names have a bar, which would end a cell, or a star.
    frame = shown_frame(table).map(lambda cell: cell.replace("|", "\\|").replace("*", "\\*"))
    frame.columns = [name.replace("|", "\\|").replace("*", "\\*") for name in frame.columns]
    text += [frame.to_markdown(index=False, disable_numparse=True), ""]
    text += [f"[{n}] {note}  " for n, note in enumerate(table.notes, start=1)]
    if content["choices"]:
        text += ["", CHOICES, "", *(f"- {choice}" for choice in _choices(content))]
    return "\n".join(text) + "\n"


def paper_latex(content: dict[str, Any]) -> str:
    """The table, its footnotes and our choices as LaTeX, for a document that loads booktabs and longtable."""
    table = wide(content)
    stub = ", ".join(table.labels)
    heads = [stub, "", *table.columns]
    groups = [_group(table, n, apart=False) for n in range(len(table.rows))]
    if not fits(heads, 2, groups):
        groups = [_group(table, n, apart=True) for n in range(len(table.rows))]
    warning = f" {SMOKE}" if content["scale"] == "smoke" else ""
    caption = f"{content['title']}. {caption_of(content, table)}{warning}"
    return table_latex(heads, 2, groups, caption, f"tab:{content['table']}", table.notes, (CHOICES, _choices(content)))


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
    table = wide(content)
    name = content["table"]
    return {
        "name": name,
        "description": content["title"],
        "warning": SMOKE if content["scale"] == "smoke" else "",
        "caption": caption_of(content, table),
        "wide": table,
        "notes": table.notes,
        "choices": content["choices"],
        "files": {what: f"tables/{name}{end}" for what, end in FILES.items()},
    }


def _choices(content: dict[str, Any]) -> list[str]:
    return [f"{c['setting']}: {c['choice']}. {c['why']}" for c in content["choices"]]


def _group(table: WideTable, line: int, apart: bool) -> list[list[str]]:
    """A line of the table as columns of LaTeX's: its names below each other, what is printed, and each cell's texts.

    Args:
        table: all of it.
        line: the line's index.
        apart: whether a spread of ours has a line of its own, which makes the columns narrower.
    """
    printed = []
    for name, texts in lines(table, line):
        pairs = [text.partition(" ± ") for text in texts]
        if apart and name == "ours" and any(spread for _, _, spread in pairs):
            printed.append((name, [f"{mean} †" if spread.endswith(" †") else mean for mean, _, spread in pairs]))
            printed.append(("", [f"± {spread.removesuffix(' †')}" if spread else "" for _, _, spread in pairs]))
        else:
            printed.append((name, texts))
    names = table.rows[line][0]
    # A method that says what the printed name says is not repeated.
    bare = [slug(name).replace("_", "") for name in names]
    told = [name for n, name in enumerate(names) if bare[n] not in bare[:n]]
    stub = [part for name in told for part in wrapped(name, LABEL_CHARACTERS)]
    return [stub, [name for name, _ in printed], *([texts[n] for _, texts in printed] for n in range(len(table.columns)))]
