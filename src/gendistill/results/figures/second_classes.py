"""Confusion matrices of second classes, ordered by superclass (TT Figure 1)."""

from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from gendistill.results.figures.style import COLOURS, Cell, grouped, n_of, name_generation, panels

# More classes cannot be named at the axes; their superclasses can.
MOST_NAMES = 20
# More panels are too small for names.
MOST_NAMED_PANELS = 6


def draw(settings: dict[str, Any], cells: list[Cell]) -> Figure:
    """For each lineage the patriarch's matrix and the last generation's, side by side: shares in percent, mean over seeds.

    Args:
        settings: `superclasses`: how many classes each has, in the order of the matrix.
        cells: with `lineage`, `generation` and the `rows` of `second_classes.csv`.
    """
    shown = [
        (lineage, f"{name_generation(k)} ({n_of([own])})", own)
        for lineage, group in grouped(cells, "lineage").items()
        for k, own in grouped(group, "generation").items()
    ]
    classes = list(cells[0]["rows"][0])[1:]
    columns = 2 if len(shown) <= MOST_NAMED_PANELS else 4
    figure, all_axes = panels(len(shown), columns, (3.4 if len(classes) <= MOST_NAMES else 2.9) if columns == 2 else 2.2)
    matrices = [mean_shares(own) for *_, own in shown]
    norm = PowerNorm(0.5, vmin=0, vmax=max(matrix.max() for matrix in matrices))
    for axes, (lineage, generation, _), matrix in zip(all_axes, shown, matrices, strict=True):
        # Each cell a pixel of an image that is not smoothed: 10,000 squares would make a file of megabytes.
        picture = axes.imshow(matrix, norm=norm, cmap="Greys", interpolation="none")
        axes.grid(False)
        axes.spines[["top", "right"]].set_visible(True)
        axes.set_title(f"{lineage}{', ' if columns == 2 else chr(10)}{generation}")
        draw_borders(axes, list(settings["superclasses"].values()))
        name_ticks(axes, classes, settings["superclasses"], axes.get_subplotspec().is_first_col(), columns == 2)
    label = "share of second classes (%)"
    figure.colorbar(picture, ax=all_axes, location="bottom", shrink=0.5, label=label, aspect=40 if len(shown) > 1 else 25)
    return figure


def mean_shares(cells: list[Cell]) -> np.ndarray:
    """Shares in percent by class (rows) and second class (columns), float64 (K, K), mean over networks."""
    matrices = [[[float(share) for share in list(row.values())[1:]] for row in cell["rows"]] for cell in cells]
    return 100 * np.mean(matrices, axis=0)


def draw_borders(axes: Axes, sizes: list[int]) -> None:
    """A square around each superclass, on the diagonal, and hair lines between them."""
    ends = np.cumsum([0, *sizes]) - 0.5
    for end in ends[1:-1]:
        axes.axhline(end, color=COLOURS[5], linewidth=0.3)
        axes.axvline(end, color=COLOURS[5], linewidth=0.3)
    for first, last in pairwise(ends):
        axes.plot([first, last, last, first, first], [first, first, last, last, first], color=COLOURS[1], linewidth=0.9)


def name_ticks(axes: Axes, classes: list[str], superclasses: dict[str, int], left: bool, room: bool) -> None:
    """Where there is room, names of classes at the axes; where they are many, of superclasses, at the left of a row only."""
    few = len(classes) <= MOST_NAMES
    ends = np.cumsum([0, *superclasses.values()])
    places = range(len(classes)) if few else (ends[1:] + ends[:-1] - 1) / 2
    names = classes if few else [name.replace("_", " ") for name in superclasses]
    axes.set_yticks(places if room else [], (names if left else [""] * len(names)) if room else [])
    axes.set_xticks(places if few and room else [], classes if few and room else [], rotation=90)
    axes.tick_params(length=0)
    axes.set_xlabel("second class")
    if left:
        axes.set_ylabel("class")
