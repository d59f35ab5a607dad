"""Error and training loss by epoch, of teachers and students."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gendistill.results.figures.style import (
    Cell,
    generations_of,
    grouped,
    line,
    log_if_positive,
    n_of,
    name_generation,
    panels,
    shared_legend,
)


def draw(settings: dict[str, Any], cells: list[Cell]) -> Figure:
    """A panel for each lineage and metric: the mean over seeds as a line, their range as a band.

    Args:
        settings: `metrics`: columns of `history.csv`, and what their axes are called.
        cells: with `lineage`, `generation` and the `rows` of `history.csv`.
    """
    lineages = grouped(cells, "lineage")
    shown = [(name, group, metric) for name, group in lineages.items() for metric in settings["metrics"]]
    figure, all_axes = panels(len(shown), 2 if len(lineages) <= 4 else 4, 2.2 if len(lineages) <= 4 else 1.8)
    generations = generations_of(cells)
    for axes, (name, group, metric) in zip(all_axes, shown, strict=True):
        networks = grouped(group, "generation")
        curves = {k: by_epoch(networks[k], metric) for k in sorted(networks)}
        for k, points in curves.items():
            draw_curve(axes, points, generations.index(k))
        log_if_positive(axes, [value for points in curves.values() for values in points.values() for value in values])
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
        if metric == next(iter(settings["metrics"])):
            # Once for all panels of a lineage: it may be longer than a panel is wide.
            axes.set_title(f"{name} ({n_of(networks.values())})", loc="left")
        axes.set_xlabel("epoch")
        axes.set_ylabel(settings["metrics"][metric])
    shared_legend(figure, {name_generation(k): without_marker(i) for i, k in enumerate(generations)}, 4)
    return figure


def by_epoch(cells: list[Cell], metric: str) -> dict[int, list[float]]:
    """The values of a metric, one for each network, by the epoch after which they were measured."""
    points: dict[int, list[float]] = {}
    for cell in cells:
        for row in cell["rows"]:
            if row[metric]:
                points.setdefault(int(row["epoch"]), []).append(float(row[metric]))
    return dict(sorted(points.items()))


def draw_curve(axes: Axes, points: dict[int, list[float]], i: int) -> None:
    """One generation's mean and range."""
    epochs, values = list(points), list(points.values())
    axes.plot(epochs, [sum(own) / len(own) for own in values], **without_marker(i))
    if max(map(len, values)) > 1:
        axes.fill_between(
            epochs, [min(own) for own in values], [max(own) for own in values], color=line(i)["color"], alpha=0.15, lw=0
        )


def without_marker(i: int) -> dict[str, Any]:
    """The look of a line with a point at every epoch, which needs no markers."""
    return {key: value for key, value in line(i).items() if key != "marker"}
