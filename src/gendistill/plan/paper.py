"""Published tables: which runs give which printed cell.

The settings `table` of a file in `config/paper/` name the published numbers (`config/reference/`) and say, cell by cell, where
ours come from. Each printed row becomes one or more steps per seed, and a metric that their receipts hold.
"""

import csv
from dataclasses import dataclass
from typing import Any

from gendistill.errors import SettingError
from gendistill.plan import evaluations
from gendistill.plan.lineage import Network
from gendistill.plan.paths import CONFIG
from gendistill.plan.plan import Study
from gendistill.plan.runs import add_dataset, add_scratch, code_of
from gendistill.plan.scale import scaled
from gendistill.plan.settings import load_group
from gendistill.plan.step import Step, make_step
from gendistill.plan.validate import check_group

Row = dict[str, str]
COLUMNS = ("row", "network", "dataset", "method", "generation", "metric")


@dataclass(frozen=True)
class Metric:
    """Where our value for a published metric comes from.

    Attributes:
        step: `network` (or what evaluates it: an ensemble, a transfer), `statistics`, `agreement` or `class_structure`.
        key: of the metric in the step's receipt.
        form: `as_is`, `accuracy` (100 minus an error), `millions`, or `best_accuracy` (the largest accuracy of several steps).
    """

    step: str
    key: str
    form: str = "as_is"


METRICS = {
    "params_millions": Metric("network", "parameters", "millions"),
    "test_error_pct": Metric("network", "test_error_pct"),
    "test_error_pct_last_epoch": Metric("network", "test_error_pct"),
    "test_error_pct_best_epoch": Metric("network", "best_epoch_test_error_pct"),
    "test_error_pct_mean": Metric("network", "test_error_pct"),
    "test_error_pct_median": Metric("network", "test_error_pct"),
    "top1_error_pct": Metric("network", "test_error_pct"),
    "top5_error_pct": Metric("network", "test_top5_error_pct"),
    "test_accuracy_pct": Metric("network", "test_error_pct", "accuracy"),
    "top1_accuracy_pct": Metric("network", "test_error_pct", "accuracy"),
    "top5_accuracy_pct": Metric("network", "test_top5_error_pct", "accuracy"),
    "train_accuracy_pct": Metric("network", "train_error_pct", "accuracy"),
    "best_test_accuracy_pct": Metric("network", "test_error_pct", "best_accuracy"),
    "perplexity_val": Metric("network", "validation_perplexity"),
    "perplexity_test": Metric("network", "test_perplexity"),
    **{f"confidence_top{k}_pct": Metric("statistics", f"confidence_top{k}_pct") for k in range(1, 5)},
    **{name: Metric("agreement", name) for name in ("kd_error_train_pct", "kd_error_test_pct", "ce_loss_train")},
    # The printed values are too small to hold the teacher's entropy, as EKD's formula of the loss does.
    "kd_loss_train": Metric("agreement", "kd_divergence_train"),
    "kd_loss_test": Metric("agreement", "kd_divergence_test"),
    **{
        name: Metric("class_structure", name)
        for name in (
            "dist_c_train",
            "dist_s_train",
            "dist_c_test",
            "dist_s_test",
            "second_class_in_superclass_train_pct",
            "second_class_in_superclass_test_pct",
        )
    },
}
# Metrics that the paper chose the epoch for on the test set: they are biased downwards, and marked so.
BEST_EPOCH = ("test_error_pct_best_epoch",)


def read_reference(names: list[str]) -> list[Row]:
    """The rows of published tables, in order.

    Raises:
        SettingError: there is no such file in `config/reference/`.
    """
    rows = []
    for name in names:
        path = CONFIG / "reference" / f"{name}.csv"
        if not path.is_file():
            raise SettingError(f"table.reference = {name}: there is no file {path.relative_to(CONFIG.parent)}.")
        with open(path, newline="", encoding="utf-8") as file:
            rows += list(csv.DictReader(file))
    return rows


def slug(text: str) -> str:
    """A printed name as names of lineages are written: `Match-DenseNet-14-0.5-1` is `match_densenet_14_05_1`."""
    return "".join(c for c in text.lower().replace("-", "_").replace(" ", "_") if c.isalnum() or c == "_")


def matches(row: Row, wanted: dict[str, Any]) -> bool:
    """Whether a printed row is one that `wanted` names: each column is equal, or one of a list."""
    for column, value in wanted.items():
        values = value if isinstance(value, list) else [value]
        if row[column] not in [str(v) for v in values]:
            return False
    return True


def add_table(study: Study, lineages: dict[str, list[Network]], grown: dict[tuple[str, int], list[Step]]) -> None:
    """Add the evaluations that a published table needs, and the step that sets our numbers beside the published ones.

    Raises:
        SettingError: a printed value is named by no cell or by several, or a cell names what the lineages don't have.
    """
    table = study.settings["table"]
    rows = read_reference(table["reference"]) + [{**dict.fromkeys(COLUMNS, ""), "value": "", **row} for row in table["rows"]]
    cells, steps = [], {}
    for number, row in enumerate(rows):
        found = [cell for cell in table["cells"] if matches(row, cell["for"])]
        left_out = [entry for entry in table["not_run"] if matches(row, entry["for"])]
        if len(found) + len(left_out) != 1 and (row["value"] or found or not table["reference"]):
            raise SettingError(
                f"table.cells: {len(found)} cells and {len(left_out)} entries of table.not_run name the row "
                f"{', '.join(f'{c} = {row[c]}' for c in COLUMNS)}; there must be one in all. Set in {study.where}."
            )
        for cell in found:
            for seed in study.settings["seeds"]:
                read, key = _find(study, cell["is"], row, lineages, grown, seed)
                steps |= {step.name: step for step in read}
                cells.append({"row": number, "seed": seed, "steps": [s.name for s in read], "key": key})
    kept = (*COLUMNS, "value", "spread", "note")
    settings = {
        "table": study.name,
        "title": study.settings["description"],
        "rows": [{column: row.get(column, "") for column in kept} for row in rows],
        "forms": {row["metric"]: METRICS[row["metric"]].form for row in rows if row["metric"] in METRICS},
        "not_run": [
            {"row": n, "why": entry["why"]}
            for n, row in enumerate(rows)
            for entry in table["not_run"]
            if matches(row, entry["for"])
        ],
        "choices": table["choices"],
        "scale": study.settings["scale"]["name"],
        "cells": cells,
    }
    step = make_step("paper_table", study.name, settings, code_of("paper_table"), {"cells": list(steps.values())})
    study.plan.add(f"{study.name}-paper_table", step)


def _find(
    study: Study,
    source: dict[str, Any],
    row: Row,
    lineages: dict[str, list[Network]],
    grown: dict[tuple[str, int], list[Step]],
    seed: int,
) -> tuple[list[Step], str]:
    """The steps that a cell is read from, for one seed, and the key of the metric in their receipts."""
    if row["metric"] not in METRICS:
        raise SettingError(f"table.rows: metric = {row['metric']}: must be one of {', '.join(METRICS)}. Set in {study.where}.")
    metric = METRICS[row["metric"]]
    names = {column: slug(row[column]) for column in COLUMNS}
    key = str(source["lineage"]).format(**names)
    if (key, seed) not in grown:
        raise SettingError(
            f"table.cells: lineage = {key}: there is no such lineage. Allowed: {', '.join(lineages)}. Set in {study.where}."
        )
    networks = grown[key, seed]

    def network_at(number: str | int) -> Step:
        if not 0 <= int(number) < len(networks):
            raise SettingError(
                f"table.cells: generation = {number}: lineage {key} has generations 0 to {len(networks) - 1}. Set in {study.where}."
            )
        return networks[int(number)]

    def span(text: str) -> list[Step]:
        first, last = (int(part) for part in text.format(**names).split(".."))
        return [network_at(k) for k in range(first, last + 1)]

    if "scratch" in source:
        trained = add_scratch(study, f"{key}-scratch", lineages[key][0], seed, source["scratch"])
        label = f"net0to{source['scratch'] - 1}"
        return [evaluations.add_ensemble(study, f"{key}-scratch", label, trained, seed)], metric.key
    if "ensemble" in source:
        members = span(source["ensemble"])
        label = f"gen{source['ensemble'].format(**names).replace('..', 'to')}"
        return [evaluations.add_ensemble(study, key, label, members, seed)], metric.key
    if "best_of" in source:
        return span(source["best_of"]), metric.key
    generation = source.get("generation", row["generation"] or 0)
    network = network_at(generation)
    data = study.plan.steps[network.inputs["dataset"]]
    if "transfer" in source:
        return [evaluations.add_transfer(study, network, _target(study, source["transfer"]))], metric.key
    if "fine_tune" in source:
        recipe = scaled("recipe", load_group("recipe", source["recipe"], study.where), study.settings["scale"])
        check_group("recipe", recipe, study.where)
        return [evaluations.add_fine_tune(study, network, _target(study, source["fine_tune"]), recipe, seed)], metric.key
    if metric.step == "statistics":
        step = evaluations.add_statistics(study, key, data, networks, seed)
        return [step], f"generations.{generation}.{metric.key}"
    if metric.step == "class_structure":
        return [evaluations.add_class_structure(study, data, network)], metric.key
    if metric.step == "agreement":
        own = lineages[key][int(generation)]
        teacher, temperature = network_at(own.teacher), own.objective["temperature"]
        return [evaluations.add_agreement(study, data, network, teacher, temperature)], metric.key
    return [network], metric.key


def _target(study: Study, name: str) -> Step:
    dataset = load_group("dataset", name, study.where)
    return add_dataset(study, scaled("dataset", dataset, study.settings["scale"], "transfer"))
