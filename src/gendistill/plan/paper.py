"""Published tables: which runs give which printed cell.

The settings `table` of a file in `config/paper/` name the published numbers (`config/reference/`) and say, cell by cell, where
ours come from. Each printed row becomes one or more steps per seed, and a metric that their receipts hold.
"""

import csv
import math
from dataclasses import dataclass
from typing import Any

from gendistill.errors import SettingError
from gendistill.plan import evaluations
from gendistill.plan.network import Network, check_medium, check_recipe
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
        form: `as_is`, `accuracy` (100 minus an error), `millions`, `tenth`, or `best_accuracy` (the largest of several steps).
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
    "kd_error_train_pct": Metric("agreement", "kd_error_train_pct"),
    "kd_error_test_pct": Metric("agreement", "kd_error_test_pct"),
    # The printed values can only be the cross-entropy as EKD's loss weighs it, by 0.1.
    "ce_loss_train": Metric("agreement", "ce_loss_train", "tenth"),
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
# Metrics that were chosen on the test images, an epoch or a generation: they are too good, and marked so.
CHOSEN_ON_TEST = ("test_error_pct_best_epoch", "best_test_accuracy_pct")
# What a cell can be read from besides a network, and the metrics that each of them gives.
IMAGE_METRICS = {"parameters", "test_error_pct", "best_epoch_test_error_pct", "test_top5_error_pct", "train_error_pct"}
GIVES = {
    "network": IMAGE_METRICS,
    "text": {"parameters", "validation_perplexity", "test_perplexity"},
    "best_of": {"test_error_pct"},
    "ensemble": {"test_error_pct", "test_top5_error_pct"},
    "scratch": {"test_error_pct", "test_top5_error_pct"},
    "transfer": {"test_error_pct", "train_error_pct"},
    "fine_tune": IMAGE_METRICS,
}


def read_reference(names: list[str]) -> list[Row]:
    """The rows of published tables, in order.

    Raises:
        SettingError: there is no such file in `config/reference/`, or it lacks a column, or holds a value that is no number.
    """
    rows = []
    for name in names:
        path = CONFIG / "reference" / f"{name}.csv"
        shown = path.relative_to(CONFIG.parent)
        if not path.is_file():
            raise SettingError(f"table.reference = {name}: there is no file {shown}.")
        with open(path, newline="", encoding="utf-8") as file:
            found = list(csv.DictReader(file))
        missing = [column for column in (*COLUMNS, "value") if not found or column not in found[0]]
        if missing:
            raise SettingError(
                f"table.reference = {name}: {shown} has no column {missing[0]}. Needed: {', '.join(COLUMNS)}, value."
            )
        for number, row in enumerate(found, start=2):
            if row["value"] and not _is_number(row["value"]):
                raise SettingError(f"{shown}, line {number}: value = {row['value']}: must be a number, or empty.")
        rows += found
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
        SettingError: a printed value is named by no cell or by several, or a cell names what is not there or cannot be.
    """
    table = study.settings["table"]
    printed = read_reference(table["reference"])
    own = [{**dict.fromkeys((*COLUMNS, "value"), ""), **{c: str(v) for c, v in row.items()}} for row in table["rows"]]
    rows = printed + own
    for kind in ("cells", "not_run"):
        for entry in table[kind]:
            if not any(matches(row, entry["for"]) for row in rows):
                raise SettingError(f"table.{kind}: for = {entry['for']}: no row of the table is so. Set in {study.where}.")
    cells, steps = [], {}
    for number, row in enumerate(rows):
        found = [cell for cell in table["cells"] if matches(row, cell["for"])]
        left_out = [entry for entry in table["not_run"] if matches(row, entry["for"])]
        # A cell that the paper prints empty needs nothing.
        needed = bool(row["value"] or number >= len(printed))
        if len(found) + len(left_out) > 1 or (needed and not found + left_out):
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
    key = _filled(str(source["lineage"]), names, study)
    if (key, seed) not in grown:
        raise SettingError(
            f"table.cells: lineage = {key}: there is no such lineage. Allowed: {', '.join(lineages)}. Set in {study.where}."
        )
    networks = grown[key, seed]
    kind = _kind_of(source, row, metric, lineages[key][0], study)
    if kind == "scratch":
        trained = add_scratch(study, f"{key}-scratch", lineages[key][0], seed, source["scratch"])
        label = f"net0to{source['scratch'] - 1}"
        return [evaluations.add_ensemble(study, f"{key}-scratch", label, trained, seed)], metric.key
    if kind in ("ensemble", "best_of"):
        first, last = (_network_at(networks, end, key, study)[0] for end in _filled(source[kind], names, study).split(".."))
        if first > last:
            raise SettingError(f"table.cells: {kind} = {source[kind]}: {first} is after {last}. Set in {study.where}.")
        members = networks[first : last + 1]
        if kind == "best_of":
            return members, metric.key
        return [evaluations.add_ensemble(study, key, f"gen{first}to{last}", members, seed)], metric.key
    generation, network = _network_at(networks, source.get("generation", row["generation"] or 0), key, study)
    own, role = lineages[key][generation], f"{key}-gen{generation}-seed{seed}"
    if kind == "transfer":
        return [evaluations.add_transfer(study, role, network, _target(study, source["transfer"], own))], metric.key
    if kind == "fine_tune":
        target = _target(study, source["fine_tune"], own)
        recipe = load_group("recipe", source["recipe"], study.where)
        check_group("recipe", recipe, study.where)
        recipe = scaled("recipe", recipe, study.settings["scale"])
        check_recipe(recipe, target.settings, study.where)
        return [evaluations.add_fine_tune(study, role, network, target, recipe, seed)], metric.key
    data = study.plan.steps[network.inputs["dataset"]]
    if metric.step == "statistics":
        step = evaluations.add_statistics(study, key, data, networks, seed)
        return [step], f"generations.{generation}.{metric.key}"
    if metric.step == "class_structure":
        return [evaluations.add_class_structure(study, role, own.dataset, data, network)], metric.key
    if metric.step == "agreement":
        if generation == 0:
            raise SettingError(
                f"table.cells: {row['metric']} of generation 0 of {key}, which has no teacher. Set in {study.where}."
            )
        temperature = own.objective.get("temperature", 1)
        return [evaluations.add_agreement(study, role, data, network, networks[own.teacher], temperature)], metric.key
    return [network], metric.key


def _kind_of(source: dict[str, Any], row: Row, metric: Metric, patriarch: Network, study: Study) -> str:
    """What a cell is read from: `network`, or the one key of `source` that names another; checked to have the metric."""
    named = [kind for kind in ("ensemble", "best_of", "scratch", "transfer", "fine_tune") if kind in source]
    kind = named[0] if named else "network"
    if len(named) > 1 or ("generation" in source and kind in ("ensemble", "best_of", "scratch")):
        raise SettingError(f"table.cells: {source}: a cell is one thing, not several. Set in {study.where}.")
    dataset, text = patriarch.dataset, patriarch.dataset.get("medium") == "text"
    if metric.step != "network":
        possible = kind == "network" and not text and (metric.step == "agreement" or not dataset.get("on_disk"))
        if metric.step == "class_structure" and not dataset.get("superclasses") and "path" not in dataset:
            raise SettingError(
                f"table.cells: {row['metric']} compares classes within superclasses, and dataset {dataset['name']} has none. Set "
                f"dataset.superclasses to a file, such as config/superclasses/cifar100.yaml, in {study.where}."
            )
    else:
        given = GIVES["text"] if text and kind == "network" else set() if text else GIVES[kind]
        possible = metric.key in given and (metric.form == "best_accuracy") == (kind == "best_of")
    if not possible:
        what = "text" if text else "images on disk" if dataset.get("on_disk") else "images"
        raise SettingError(f"table.cells: {row['metric']} cannot be had from {source} of {what}. Set in {study.where}.")
    return kind


def _filled(text: str, names: dict[str, str], study: Study) -> str:
    try:
        return text.format(**names)
    except (KeyError, IndexError, ValueError) as error:
        raise SettingError(
            f"table.cells: {text}: only {', '.join(f'{{{name}}}' for name in names)} may stand in braces. Set in {study.where}."
        ) from error


def _network_at(networks: list[Step], number: Any, key: str, study: Study) -> tuple[int, Step]:
    if not str(number).isdecimal() or int(number) >= len(networks):
        raise SettingError(
            f"table.cells: generation = {number}: lineage {key} has generations 0 to {len(networks) - 1}. Set in {study.where}."
        )
    return int(number), networks[int(number)]


def _target(study: Study, name: str, own: Network) -> Step:
    """The step of a data set that a network is transferred to."""
    dataset = load_group("dataset", name, study.where)
    check_medium("network", own.network, dataset, study.where)
    return add_dataset(study, scaled("dataset", dataset, study.settings["scale"], "transfer"))


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
