"""Reliability diagrams and expected calibration error (Guo et al., On Calibration of Modern Neural Networks, 2017)."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gendistill.results.figures.style import (
    BASELINE,
    Cell,
    grouped,
    interval,
    legend_above,
    line,
    n_of,
    name_generation,
    panels,
)

# In a bin of fewer images the accuracy says little.
FEWEST = 10


def draw(settings: dict[str, Any], cells: list[Cell]) -> Figure:
    """A panel for each lineage: accuracy by confidence of each generation, and its expected calibration error in the legend.

    Args:
        settings: none that matters.
        cells: with `lineage`, `generation`, `metrics` and the `rows` of `calibration.csv`.
    """
    lineages = grouped(cells, "lineage")
    lines = 2 + max(len(grouped(group, "generation")) for group in lineages.values())
    figure, all_axes = panels(len(lineages), 2, 2.4, lines, sharey=True)
    for axes, (name, group) in zip(all_axes, lineages.items(), strict=True):
        axes.plot([0, 100], [0, 100], color=BASELINE, linewidth=0.8, linestyle=(0, (4, 2)), label="calibrated")
        networks = grouped(group, "generation")
        for i, k in enumerate(sorted(networks)):
            error, half = interval([cell["metrics"]["ece_test_pct"] for cell in networks[k]])
            spread = "" if half is None else f" ± {half:.1f}"
            label = f"{name_generation(k)}, ECE {error:.1f}{spread} %"
            axes.plot(*accuracy_by_confidence(networks[k]), label=label, **line(i))
        axes.set_xlim(0, 103)
        axes.set_ylim(0, 103)
        axes.set_xlabel("confidence (%)")
        legend_above(axes, f"{name} ({n_of(networks.values())})")
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel("accuracy (%)")
    return figure


def accuracy_by_confidence(cells: list[Cell]) -> tuple[list[float], list[float]]:
    """Mean confidence and accuracy in percent in each bin, over the images of all networks; bins of few images are left out."""
    sums = np.zeros((len(cells[0]["rows"]), 3))
    for cell in cells:
        for own, row in zip(sums, cell["rows"], strict=True):
            if count := int(row["images"]):
                own += count, count * float(row["confidence_pct"]), count * float(row["accuracy_pct"])
    kept = sums[sums[:, 0] >= FEWEST]
    return list(kept[:, 1] / kept[:, 0]), list(kept[:, 2] / kept[:, 0])
