"""The tables and figures of a plan as files to read, and one page that shows them all."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from gendistill.files import read_receipt, verified
from gendistill.plan.paths import REPORT_TEMPLATE
from gendistill.plan.plan import Plan
from gendistill.plan.step import NETWORKS, OUTPUTS
from gendistill.results.paper_report import paper_frame, paper_markdown, paper_metrics, paper_section
from gendistill.results.tables import TABLES

TITLES = {
    "error": "Error by generation",
    "perplexity": "Perplexity by generation",
    "ensembles": "Ensembles",
    "transfer": "Transfer to other data",
    "confidence": "Confidence on the training images",
    "structure": "Classes and superclasses",
}
CAPTIONS = {
    "error": "Error in percent on the test images after the last epoch, and on the training images. Generation 0 is the patriarch. "
    "Best-epoch errors (†, only where networks were evaluated in between) are chosen afterwards, on the test images unless a "
    "validation split is set, so they are biased downwards.",
    "perplexity": "exp(mean cross-entropy in nats) over all words, with carried hidden state, of the network after the last epoch.",
    "ensembles": "Error in percent of the averaged outputs. Networks trained is the cost: what had to be trained to have the "
    "ensemble. Compare a lineage with as many networks from scratch.",
    "transfer": "Error in percent of a linear SVM on the penultimate features; the SVM's C is chosen on training images only.",
    "structure": "Mean angle in radians between the centres of the features of a class and of its superclass (DistC), and of a "
    "superclass and of all images (DistS); share of training images whose second class is of the label's superclass.",
    "confidence": "Mean of the largest to fourth largest probability on the plain training images, and accuracies, in percent.",
}
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
    "dist_c_train": "DistC train",
    "dist_s_train": "DistS train",
    "dist_c_test": "DistC test",
    "dist_s_test": "DistS test",
    "second_class_in_superclass_train_pct": "second class in superclass %",
    **{f"confidence_top{k}_pct": f"top {k} %" for k in range(1, 5)},
}


def report_files(plan: Plan, command: str) -> dict[str, str | bytes]:
    """The files of `results/` that show the tables of a plan: index, metrics, tables, figures, and `report.html`.

    Args:
        plan: of finished steps.
        command: what reproduces the results, as a user types it.

    Returns:
        The content of each file by its path below `results/`.

    Raises:
        UserError: a step has no receipt, or a table is missing or corrupt.
    """
    contents: dict[str, str | bytes] = {"index.json": _json(plan.index)}
    figures = _figures(plan, contents)
    studies = [(step.settings["experiment"], Path(step.folder)) for step in plan.of_kind("tables")]
    loaded = {name: json.loads(verified(folder / "tables.json").read_text()) for name, folder in studies}
    sections = []
    for name, _ in studies:
        shown = []
        for table, records in loaded[name]["summaries"].items():
            summary = pd.DataFrame(records)
            text, notes = readable(table, summary), f"{CAPTIONS[table]} Mean ± standard deviation over n runs."
            markdown = text.to_markdown(index=False, disable_numparse=True)
            stem = f"tables/{name}_{table}"
            contents[f"{stem}.csv"] = summary.to_csv(index=False)
            contents[f"{stem}_runs.csv"] = pd.DataFrame(loaded[name]["runs"][table]).to_csv(index=False)
            contents[f"{stem}.md"] = f"**{TITLES[table]}** ({name}). {notes}\n\n{markdown}\n"
            shown.append({"id": f"{name}-{table}", "title": TITLES[table], "caption": notes, "frame": text, "csv": f"{stem}.csv"})
        sections.append({"name": name, "description": loaded[name]["description"], "tables": shown})
    published = {}
    for step in plan.of_kind("paper_table"):
        name, content = step.settings["table"], json.loads(verified(Path(step.folder) / "table.json").read_text())
        published[name] = paper_metrics(content)
        contents[f"tables/{name}.csv"] = paper_frame(content).to_csv(index=False)
        contents[f"tables/{name}.md"] = paper_markdown(content)
        sections.append(paper_section(content))
    for section in sections:
        section["figures"] = figures.get(section["name"], [])
    contents["metrics.json"] = _json({name: _metrics(t["summaries"]) for name, t in loaded.items()} | published)
    contents["generations.csv"] = _generations(loaded).to_csv(index=False)
    contents["report.html"] = _render(sections, command, _cost(plan.index))
    return contents


def _figures(plan: Plan, contents: dict[str, str | bytes]) -> dict[str, list[dict[str, str]]]:
    """What the report shows of the figures of each study; their files go to `contents`."""
    found: dict[str, list[dict[str, str]]] = {}
    for step in plan.of_kind("figure"):
        own, files = step.settings, [Path(step.folder, name) for name in OUTPUTS["figure"]]
        pictures = {path.suffix: verified(path).read_bytes() for path in files}
        contents |= {f"figures/{own['study']}_{own['figure']}{suffix}": picture for suffix, picture in pictures.items()}
        svg = pictures[".svg"].decode()
        shown = {**{key: own[key] for key in ("figure", "title", "caption", "alt")}, "svg": svg[svg.index("<svg") :]}
        found.setdefault(own["study"], []).append(shown)
    return found


def _json(value: Any) -> str:
    return json.dumps(value, indent=1) + "\n"


def readable(table: str, summary: pd.DataFrame) -> pd.DataFrame:
    """A summary with each metric as text, `mean ± sd`, and n."""
    labels, metrics = TABLES[table]
    text = pd.DataFrame({HEADINGS.get(label, label): summary[label].astype(str) for label in labels})
    for metric in metrics:
        if metric == "best_epoch_test_error_pct" and (summary[f"{metric}_mean"] == summary["test_error_pct_mean"]).all():
            # Evaluated after the last epoch only.
            continue
        if f"{metric}_mean" in summary:
            pairs = zip(summary[f"{metric}_mean"], summary[f"{metric}_sd"], strict=True)
            text[HEADINGS[metric]] = [f"{mean:.2f}" + (f" ± {sd:.2f}" if pd.notna(sd) else " (one run)") for mean, sd in pairs]
    text["n"] = summary["n"].astype(str)
    return text


def _metrics(summaries: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Mean, standard deviation and n of the first metric of each table, nested, which `dvc metrics` shows and compares."""
    nested: dict[str, Any] = {}
    for table, records in summaries.items():
        for record in records:
            key = "-".join(str(record[label]) for label in TABLES[table][0])
            metric = TABLES[table][1][0]
            columns = {"n": "n", metric: f"{metric}_mean", "sd": f"{metric}_sd"}
            # DVC takes a key `error` for a failure to read.
            name = "generations" if table == "error" else table
            nested.setdefault(name, {})[key] = {k: record[v] for k, v in columns.items() if record[v] is not None}
    return nested


def _generations(loaded: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Test error of every network of the experiments, for `dvc plots`."""
    columns = ["lineage", "generation", "seed", "test_error_pct"]
    errors = {name: content["runs"]["error"] for name, content in loaded.items() if "error" in content["runs"]}
    frames = [pd.DataFrame(runs).assign(experiment=name) for name, runs in errors.items()]
    if not frames:
        return pd.DataFrame(columns=columns)
    frame = pd.concat(frames)
    frame["lineage"] = frame["experiment"] + "-" + frame["lineage"]
    return frame[columns]


def _cost(index: dict[str, str]) -> dict[str, Any]:
    """Steps, networks and seconds of work, and the machines that the networks were trained on."""
    receipts = [read_receipt(Path(folder)) for folder in dict.fromkeys(index.values())]
    trained = [r for r in receipts if r["spec"]["kind"] in NETWORKS]
    machines = sorted(
        {
            f"{r['environment'].get('gpu') or r['environment']['processor']}, {r['environment'].get('threads', 1)} thread(s), "
            f"{r['metrics']['number_format']}, PyTorch {r['environment']['torch']}, Python {r['environment']['python']}"
            for r in trained
        }
    )
    commits = sorted(
        {str(r["environment"]["git_commit"]) + (" (changed)" if r["environment"]["git_changed"] else "") for r in trained}
    )
    return {
        "steps": len(receipts),
        "networks": len(trained),
        "training_seconds": round(sum(r["times"]["seconds"] for r in trained)),
        "seconds": round(sum(r["times"]["seconds"] for r in receipts)),
        "machines": machines,
        "commits": commits,
    }


def _render(sections: list[dict[str, Any]], command: str, cost: dict[str, Any]) -> str:
    from jinja2 import Environment

    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(REPORT_TEMPLATE.read_text())
    return template.render(sections=sections, command=command, cost=cost)
