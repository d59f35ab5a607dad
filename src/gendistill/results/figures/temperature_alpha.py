"""Error of students by temperature and by alpha (EKD Figure 6)."""

from typing import Any

from matplotlib.figure import Figure

from gendistill.results.figures.style import Cell, grouped, legend_above, line, n_of, panels, plot_means, points_of, shift_of

OTHER = {"temperature": "alpha", "alpha": "temperature"}
NAMES = {"temperature": "temperature T", "alpha": "α"}


def draw(settings: dict[str, Any], cells: list[Cell]) -> Figure:
    """A panel for each of the two, at the value of the other for which it was varied most: a line for each teacher.

    Args:
        settings: none that matters.
        cells: with `series` (the teacher), `temperature`, `alpha` and `metrics`.
    """
    figure, all_axes = panels(2, 2, 2.3, len(grouped(cells, "series")), sharey=True)
    for axes, (varied, other) in zip(all_axes, OTHER.items(), strict=True):
        fixed, own = varied_most(cells, varied, other)
        teachers = grouped(own, "series")
        for i, (teacher, group) in enumerate(teachers.items()):
            points = points_of(group, varied, "test_error_pct")
            plot_means(axes, points, f"teacher {teacher} ({n_of(v for _, v in points)})", shift_of(i, len(teachers)), **line(i))
        if varied == "temperature":
            axes.set_xscale("log")
            axes.set_ylabel("student's test error (%)")
        values = sorted({cell[varied] for cell in own})
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.minorticks_off()
        axes.set_xlabel(f"{NAMES[varied]}, at {NAMES[other]} = {fixed:g}")
        legend_above(axes)
    return figure


def varied_most(cells: list[Cell], varied: str, other: str) -> tuple[float, list[Cell]]:
    """The value of one setting at which the other has most values, and the cells that have it."""
    return max(grouped(cells, other).items(), key=lambda group: len({cell[varied] for cell in group[1]}))
