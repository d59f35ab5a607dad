"""The figures of a study: which it has, and the steps that each is drawn from.

An experiment has those of `OF_EXPERIMENTS` that its steps allow, or of these the ones that the setting `figures` names. The module
of a figure's name in `results/figures/` draws it. `published_figures.py` has those of published tables.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gendistill.errors import SettingError
from gendistill.plan.evaluations import Cell
from gendistill.plan.plan import Study
from gendistill.plan.runs import code_of
from gendistill.plan.step import HOLD_NETWORK, make_step

PACKAGE = "gendistill.results.figures"
# What figures call the metrics of networks.
AXES = {"test_error_pct": "test error (%)", "test_perplexity": "test perplexity"}
INTERVAL = "Bars: 95 % t-interval of the mean; small points: single networks."
SMOKE = " At scale smoke, where the numbers mean nothing."


@dataclass(frozen=True)
class Drawing:
    """What a figure shows.

    Attributes:
        title, caption, alt: texts; the caption without the number of seeds.
        cells: for each step that is drawn its labels, the `seed` among them.
        role: what is read of the steps; see `READS`.
        settings: what else the figure's module takes.
    """

    title: str
    caption: str
    alt: str
    cells: list[Cell]
    role: str = "cells"
    settings: dict[str, Any] = field(default_factory=dict)


def add_figures(study: Study, cells: list[Cell]) -> None:
    """Add the figures of an experiment, from the cells of its tables.

    Raises:
        SettingError: `figures` names one that there is not, or that cannot be drawn from these cells.
    """
    wanted = wanted_figures(study, OF_EXPERIMENTS)
    for name, describe in OF_EXPERIMENTS.items():
        drawing = describe(study, cells) if name in wanted or not wanted else None
        if drawing:
            add_drawing(study, name, drawing)
        elif name in wanted:
            raise SettingError(f"figures = {name}: the experiment has no steps that it could be drawn from. Set in {study.where}.")


def wanted_figures(study: Study, known: Iterable[str]) -> list[str]:
    """The figures that a study names.

    Raises:
        SettingError: one of them is not `known`.
    """
    for name in study.settings["figures"]:
        if name not in known:
            raise SettingError(f"figures = {name}: there is no such figure. Allowed: {', '.join(known)}. Set in {study.where}.")
    return list(study.settings["figures"])


def add_drawing(study: Study, name: str, drawing: Drawing) -> None:
    """Add the step that draws a figure."""
    count = len({cell["seed"] for cell in drawing.cells})
    seeds = f"{count} seeds." if count > 1 else "One seed, so lines have no bars."
    settings = {
        "study": study.name,
        "figure": name,
        "title": drawing.title,
        "caption": f"{drawing.caption} {seeds}{SMOKE if study.settings['scale']['name'] == 'smoke' else ''}",
        "alt": drawing.alt,
        "cells": drawing.cells,
        **drawing.settings,
    }
    read = [study.plan.steps[step] for step in dict.fromkeys(cell["step"] for cell in drawing.cells)]
    code = code_of("figure", {"_target_": f"{PACKAGE}.{name}.draw"})
    step = make_step("figure", f"{study.name}-{name}", settings, code, {drawing.role: read})
    study.plan.add(f"{study.name}-figure-{name}", step)


def labelled(cells: list[Cell], *labels: str, **more: Any) -> list[Cell]:
    """Cells with only these labels, the seed and the step."""
    return [{key: cell[key] for key in (*labels, "seed", "step")} | more for cell in cells]


def _networks(cells: list[Cell]) -> list[Cell]:
    """The cells of trained networks, those from scratch among them."""
    return [cell for cell in cells if cell["table"] in ("error", "perplexity")]


def names_of(cells: list[Cell], label: str = "lineage") -> str:
    """The values of a label, each once, to be read."""
    return ", ".join(dict.fromkeys(cell[label] for cell in cells))


def error_by_generation(study: Study, cells: list[Cell]) -> Drawing | None:
    """Of an experiment: each lineage, and the networks from scratch."""
    return by_generation(study, _networks(cells), panel="")


def by_generation(study: Study, cells: list[Cell], **more: Any) -> Drawing:
    """Error, or perplexity, by generation; cells with `lineage`, `generation`, and `panel` unless `more` has it."""
    text = cells[0].get("table") == "perplexity" or cells[0].get("key") == "test_perplexity"
    metric, name = ("test_perplexity", "perplexity") if text else ("test_error_pct", "error")
    table = f"results/tables/{study.name}{'' if study.settings['table'] else f'_{name}'}.csv"
    growing = {cell["lineage"] for cell in cells if cell["generation"]}
    single = any(cell["lineage"] not in growing for cell in cells)
    baseline = " Horizontal line and band: networks without students, mean and 95 % t-interval." if single else ""
    return Drawing(
        f"{name.capitalize()} by generation",
        f"Test {name} after the last epoch by generation; 0 is the patriarch. Lines: mean. {INTERVAL}{baseline}",
        f"Lines of test {name} by generation for {names_of(cells)}. The numbers are in {table}.",
        labelled(cells, "lineage", "generation", *(["panel"] if "panel" not in more else []), **more),
        settings={"metric": metric, "axis": AXES[metric]},
    )


def training_curves(study: Study, cells: list[Cell]) -> Drawing | None:
    """Of an experiment: each network of its lineages; of several trained together the one that was evaluated meanwhile."""
    steps = study.plan.steps
    own = [cell for cell in _networks(cells) if cell["lineage"] != "scratch" and steps[cell["step"]].settings.get("main", True)]
    if not own:
        return None
    recipes = [study.plan.steps[cell["step"]].settings["recipe"] for cell in own]
    if own[0]["table"] == "perplexity":
        metric, name, what = "test_perplexity", AXES["test_perplexity"], "test perplexity"
    elif all(2 * recipe["evaluate_every"] <= recipe["epochs"] for recipe in recipes):
        metric, name, what = "test_error_pct", AXES["test_error_pct"], "test error"
    else:
        # One point would be no curve.
        metric, name, what = "train_error_pct", "training error (%)", "error on the augmented training images"
    return Drawing(
        "Training curves",
        f"{what[0].upper()}{what[1:]} and training loss by epoch. Lines: mean over seeds; bands: range over seeds. Each objective "
        "has a loss of its own: those of patriarchs and students compare in shape, not in height.",
        f"Lines of {what} and training loss by epoch for each generation of {names_of(own)}. The numbers are in history.csv of "
        "each run.",
        labelled(own, "lineage", "generation"),
        "histories",
        {"metrics": {metric: name, "train_loss": "training loss"}},
    )


def confidence_by_rank(study: Study, cells: list[Cell]) -> Drawing | None:
    """Of an experiment on images in memory: each network of its lineages."""
    own = [cell for cell in cells if cell["table"] == "confidence"]
    if not own:
        return None
    return Drawing(
        "Confidence by rank",
        "Mean probability of the most probable to the 4th most probable class of the training images without augmentation. "
        f"{INTERVAL}",
        f"Lines that fall with the rank, for each generation of {names_of(own)}. The numbers are in "
        f"results/tables/{study.name}_confidence.csv.",
        labelled(own, "lineage", "generation"),
    )


def reliability(study: Study, cells: list[Cell]) -> Drawing | None:
    """Of an experiment on images in memory: each network of its lineages."""
    own = [cell for cell in cells if cell["table"] == "confidence"]
    if not own:
        return None
    return Drawing(
        "Reliability",
        "Accuracy by confidence on the test images, in 15 bins of equal width, over the images of all seeds; bins of fewer than 10 "
        "images are left out. ECE: expected calibration error of a network, mean ± half of its 95 % t-interval. Below the "
        "diagonal a network is too confident.",
        f"Accuracy by confidence for each generation of {names_of(own)}, beside the diagonal of perfect calibration. The expected "
        "calibration errors are in the legend.",
        labelled(own, "lineage", "generation"),
        "calibrations",
    )


def second_classes(study: Study, cells: list[Cell]) -> Drawing | None:
    """Of an experiment with superclasses: the patriarch and the last generation of each lineage."""
    own = [cell for cell in cells if cell["table"] == "structure"]
    last: dict[str, int] = {}
    for cell in own:
        last[cell["lineage"]] = max(last.get(cell["lineage"], 0), cell["generation"])
    if not own:
        return None
    ends = [cell for cell in own if cell["generation"] in (0, last[cell["lineage"]])]
    ends.sort(key=lambda cell: (list(last).index(cell["lineage"]), cell["generation"]))
    return Drawing(
        "Second classes",
        "The share of training images of each class (rows) for which each other class (columns) is the most probable one beside "
        "their own; classes are ordered by superclass, these by the alphabet, and marked by squares. Shades grow with the square "
        "root of the share. Mean over seeds.",
        f"Matrices of second classes of the patriarch and the last generation of {names_of(own)}. Shares within superclasses are "
        f"in results/tables/{study.name}_structure.csv.",
        labelled(ends, "lineage", "generation"),
        "second_classes",
        {"superclasses": _sizes(study, own)},
    )


def _sizes(study: Study, cells: list[Cell]) -> dict[str, int]:
    """How many classes each superclass has, in the order of the matrix."""
    named = study.plan.steps[cells[0]["step"]].settings["superclasses"]
    return {name: len(named[name]) for name in sorted(named)}


def ensemble_size(study: Study, cells: list[Cell]) -> Drawing | None:
    """Of an experiment: the ensembles of its lineages, with their single networks, and those from scratch."""
    ensembles = [cell for cell in cells if cell["table"] == "ensembles"]
    lineages = list(dict.fromkeys(cell["lineage"] for cell in ensembles if cell["lineage"] != "scratch"))
    if not lineages:
        return None
    shown = []
    for cell in (cell for cell in cells if cell["table"] == "error"):
        if cell["lineage"] in lineages:
            shown.append({**cell, "kind": "network", "networks_trained": _networks_behind(study, cell["step"])})
        elif cell["lineage"] == "scratch" and cell["member"] == 0:
            shown.append({**cell, "kind": "scratch", "networks_trained": 1})
    for cell in ensembles:
        kind = "scratch" if cell["lineage"] == "scratch" else "students" if cell["members"].startswith("gen1") else "lineage"
        shown.append({**cell, "generation": None, "kind": kind})
    return Drawing(
        "Ensembles at equal cost",
        "Test error of single networks and of ensembles by how many networks had to be trained to have them, teachers among them. "
        f"Lines: mean. {INTERVAL}",
        f"Test error by number of networks trained, for {', '.join(lineages)} and from scratch. The numbers are in "
        f"results/tables/{study.name}_ensembles.csv.",
        labelled(shown, "lineage", "generation", "kind", "networks_trained"),
    )


def _networks_behind(study: Study, name: str) -> int:
    """How many networks are trained so that there is this one, itself among them."""
    found, waiting = {name}, [name]
    while waiting:
        new = set(study.plan.steps[waiting.pop()].parents) - found
        found |= new
        waiting += new
    return sum(study.plan.steps[step].kind in HOLD_NETWORK for step in found)


OF_EXPERIMENTS = {
    "error_by_generation": error_by_generation,
    "training_curves": training_curves,
    "confidence_by_rank": confidence_by_rank,
    "reliability": reliability,
    "second_classes": second_classes,
    "ensemble_size": ensemble_size,
}
