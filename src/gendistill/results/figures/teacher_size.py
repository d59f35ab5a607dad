"""Error of students by the size of their teachers (EKD Figure 2)."""

from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gendistill.results.figures.style import (
    Cell,
    grouped,
    legend_above,
    line,
    n_of,
    panels,
    plain_log,
    plot_baseline,
    plot_means,
    shift_of,
)


def draw(settings: dict[str, Any], cells: list[Cell]) -> Figure:
    """A panel for each student: its error (filled) and its teacher's own (hollow) by the teacher's parameters.

    Args:
        settings: none that matters.
        cells: with `panel`, `of` (`student`, `teacher` or `scratch`), `series`, `row` (one student and its teacher) and `metrics`.
    """
    students = grouped(cells, "panel")
    figure, all_axes = panels(len(students), 2, 2.3, most_lines(students.values()))
    for axes, (name, group) in zip(all_axes, students.items(), strict=True):
        draw_pairs(axes, [cell for cell in group if cell["of"] != "scratch"], sizes(group))
        if scratch := [cell["metrics"]["test_error_pct"] for cell in group if cell["of"] == "scratch"]:
            plot_baseline(axes, scratch, f"student from scratch ({n_of([scratch])})")
        axes.set_xscale("log")
        plain_log(axes.xaxis, max(sizes(group).values()) / min(sizes(group).values()))
        axes.set_xlabel("teacher's parameters (millions)")
        axes.set_ylabel("test error (%)")
        legend_above(axes, f"student {name}")
    return figure


def most_lines(panels_of: Iterable[list[Cell]]) -> int:
    """The most lines of a legend above a panel, with its title."""
    return 1 + max(len({(cell["of"], cell["series"]) for cell in cells}) for cells in panels_of)


def sizes(cells: list[Cell]) -> dict[str, float]:
    """Millions of parameters of each row's teacher."""
    return {cell["row"]: cell["metrics"]["parameters"] / 1e6 for cell in cells if cell["of"] == "teacher"}


def draw_pairs(axes: Axes, cells: list[Cell], x_of: dict[str, float]) -> None:
    """Students and their teachers at the x of their rows: a line for each series, filled for students, hollow for teachers."""
    all_series = grouped(cells, "series")
    for i, (series, own) in enumerate(all_series.items()):
        for j, (of, group) in enumerate(grouped(own, "of").items()):
            rows = grouped(group, "row")
            points = sorted((x_of[row], [cell["metrics"]["test_error_pct"] for cell in c]) for row, c in rows.items())
            hollow = {"markerfacecolor": "white", "linewidth": 0.7} if of == "teacher" else {}
            who = f"{of}, {series}" if series else of
            plot_means(
                axes, points, f"{who} ({n_of(v for _, v in points)})", shift_of(2 * i + j, 2 * len(all_series)), **line(i), **hollow
            )
