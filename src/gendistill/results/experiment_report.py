"""How the tables of an experiment are shown: as CSV and Markdown, and as a section of the report with the runs behind each mean."""

import shlex
from typing import Any

import pandas as pd

from gendistill.plan.tables import TABLES
from gendistill.results.latex import frame_latex

TITLES = {
    "error": "Error by generation",
    "perplexity": "Perplexity by generation",
    "ensembles": "Ensembles",
    "transfer": "Transfer to other data",
    "confidence": "Confidence on the training images",
    "early_exits": "Leaving a network early",
    "structure": "Classes and superclasses",
}
CAPTIONS = {
    "error": "Error in percent on the test images after the last epoch, and on the training images. Generation 0 is the patriarch. "
    "Best-epoch errors (†, only where networks were evaluated in between) are chosen afterwards, on the test images unless a "
    "validation split is set, so they are biased downwards. Networks from scratch count one by one: several for each seed.",
    "perplexity": "exp(mean cross-entropy in nats) over all words, with carried hidden state, of the network after the last epoch.",
    "ensembles": "Error in percent of the averaged outputs. Networks trained is the cost: what had to be trained to have the "
    "ensemble. Compare a lineage with as many networks from scratch.",
    "transfer": "Error in percent of a linear SVM on the penultimate features; the SVM's C is chosen on training images only.",
    "early_exits": "Test accuracy in percent and millions of multiply-adds for an image: of the deepest exit alone, and where each "
    "image leaves at the first exit whose largest probability reaches a threshold. The threshold with the least work that is as "
    "accurate as the deepest exit is chosen on the test images (†), so its saving is biased upwards.",
    "structure": "Mean angle in radians between the centres of the features of a class and of its superclass (DistC), and of a "
    "superclass and of all images (DistS); share of training images whose second class is of the label's superclass.",
    "confidence": "Mean of the largest to fourth largest probability on the plain training images, and accuracies, in percent.",
}
# What the files of a table are, and how their names end.
FILES = {"CSV": ".csv", "CSV of runs": "_runs.csv", "Markdown": ".md", "LaTeX": ".tex"}
SPREAD = "Mean ± standard deviation over n runs."
HEADINGS = {
    "test_error_pct": "test error %",
    "best_epoch_test_error_pct": "best-epoch test error % †",
    "train_error_pct": "train error %",
    "test_perplexity": "test perplexity",
    "validation_perplexity": "validation perplexity",
    "train_perplexity": "train perplexity",
    "mean_member_test_error_pct": "mean member's test error %",
    "train_accuracy_pct": "train accuracy %",
    "test_accuracy_pct": "test accuracy %",
    "networks_trained": "networks trained",
    "multiply_adds_millions": "millions of multiply-adds",
    "early_exit_test_accuracy_pct": "leaving early: test accuracy % †",
    "early_exit_multiply_adds_millions": "leaving early: millions of multiply-adds †",
    "early_exit_threshold": "threshold †",
    "dist_c_train": "DistC train",
    "dist_s_train": "DistS train",
    "dist_c_test": "DistC test",
    "dist_s_test": "DistS test",
    "second_class_in_superclass_train_pct": "second class in superclass %",
    **{f"confidence_top{k}_pct": f"top {k} %" for k in range(1, 5)},
}


def experiment_files(content: dict[str, Any]) -> dict[str, str]:
    """Each table of an experiment as CSV, run by run as CSV, as Markdown and as LaTeX, by its path below `results/`."""
    files = {}
    for table, records in content["summaries"].items():
        summary, stem = pd.DataFrame(records), _stem(content, table)
        text, name = readable(table, summary), content["experiment"]
        markdown = text.to_markdown(index=False, disable_numparse=True)
        files[f"{stem}.csv"] = summary.to_csv(index=False)
        files[f"{stem}_runs.csv"] = pd.DataFrame(content["runs"][table]).to_csv(index=False)
        files[f"{stem}.md"] = f"**{TITLES[table]}** ({name}). {_caption(table)}\n\n{markdown}\n"
        caption = f"{TITLES[table]} ({name}). {_caption(table)}"
        files[f"{stem}.tex"] = frame_latex(text, caption, f"tab:{name}_{table}")
    return files


def experiment_section(content: dict[str, Any]) -> dict[str, Any]:
    """What the report's template shows of an experiment."""
    tables = [_table(content, table) for table in content["summaries"]]
    return {"name": content["experiment"], "description": content.get("description", ""), "tables": tables}


def readable(table: str, summary: pd.DataFrame) -> pd.DataFrame:
    """A summary with each metric as text, `mean ± sd`, and n."""
    text = pd.DataFrame({HEADINGS.get(label, label): summary[label].astype(str) for label in TABLES[table][0]})
    for metric in _metrics_shown(table, summary):
        pairs = zip(summary[f"{metric}_mean"], summary[f"{metric}_sd"], strict=True)
        text[HEADINGS[metric]] = [f"{mean:.2f}" + (f" ± {sd:.2f}" if pd.notna(sd) else " (one run)") for mean, sd in pairs]
    text["n"] = summary["n"].astype(str)
    return text


def _metrics_shown(table: str, summary: pd.DataFrame) -> list[str]:
    shown = [metric for metric in TABLES[table][1] if f"{metric}_mean" in summary]
    best = "best_epoch_test_error_pct"
    if best in shown and (summary[f"{best}_mean"] == summary["test_error_pct_mean"]).all():
        # Evaluated after the last epoch only.
        shown.remove(best)
    return shown


def _stem(content: dict[str, Any], table: str) -> str:
    return f"tables/{content['experiment']}_{table}"


def _caption(table: str) -> str:
    return f"{CAPTIONS[table]} {SPREAD}"


def _table(content: dict[str, Any], table: str) -> dict[str, Any]:
    """A table for the template: columns, cells with what they are sorted by, and the runs of each row."""
    labels, records = TABLES[table][0], content["runs"][table]
    summary = pd.DataFrame(content["summaries"][table])
    metrics, text = _metrics_shown(table, summary), readable(table, summary)
    name, rows, groups = f"{content['experiment']}-{table}", [], []
    keys = [*labels, *(f"{metric}_mean" for metric in metrics), "n"]
    for number, row in enumerate(content["summaries"][table], start=1):
        behind = f"{name}-{number}"
        shown = zip(keys, text.iloc[number - 1], strict=True)
        rows.append([{"text": t, "sort": row[key], "href": f"#{behind}" if key.endswith("_mean") else ""} for key, t in shown])
        alike = [record for record in records if all(record[label] == row[label] for label in labels)]
        groups.append(_group(behind, _stem(content, table), [str(row[label]) for label in labels], metrics, alike))
    number_like = [isinstance(content["summaries"][table][0][key], int | float) for key in keys]
    return {
        "id": name,
        "title": TITLES[table],
        "caption": _caption(table),
        "files": {what: f"{_stem(content, table)}{end}" for what, end in FILES.items()},
        "columns": [{"text": t, "number": n} for t, n in zip(text.columns, number_like, strict=True)],
        "rows": rows,
        "runs": {"columns": [HEADINGS[metric] for metric in metrics], "groups": groups},
    }


def _group(behind: str, stem: str, labels: list[str], metrics: list[str], records: list[dict[str, Any]]) -> dict[str, Any]:
    """The runs of one row of a table."""
    name = "/".join(labels)
    lines = [
        {
            "labels": name + (f", network {record['member']}" if record.get("member") is not None else ""),
            "seed": record["seed"],
            "values": ["–" if record.get(metric) is None else f"{record[metric]:.4f}" for metric in metrics],
            "steps": [record["step"]],
        }
        for record in records
    ]
    return {"id": behind, "command": shlex.join(["gendistill", "provenance", f"{stem.partition('/')[2]}:{name}"]), "lines": lines}
