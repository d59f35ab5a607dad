"""Error of students by how long their teachers were trained (EKD Figure 4)."""

from typing import Any

from matplotlib.figure import Figure

from gendistill.results.figures.style import Cell, grouped, legend_above, n_of, panels, plot_baseline
from gendistill.results.figures.teacher_size import draw_pairs, most_lines


def draw(settings: dict[str, Any], cells: list[Cell]) -> Figure:
    """A panel for each student: its error (filled) and its teacher's own (hollow) by the teacher's epochs.

    Args:
        settings: none that matters.
        cells: with `panel`, `of` (`student`, `teacher` or `scratch`), `series`, `row` (one student and its teacher), `epochs` (of
            the teacher) and `metrics`.
    """
    students = grouped(cells, "panel")
    figure, all_axes = panels(len(students), 2, 2.3, most_lines(students.values()))
    for axes, (name, group) in zip(all_axes, students.items(), strict=True):
        pairs = [cell for cell in group if cell["of"] != "scratch"]
        epochs = {cell["row"]: cell["epochs"] for cell in pairs}
        draw_pairs(axes, pairs, epochs)
        if scratch := [cell["metrics"]["test_error_pct"] for cell in group if cell["of"] == "scratch"]:
            plot_baseline(axes, scratch, f"student from scratch ({n_of([scratch])})")
        axes.set_xticks(sorted(set(epochs.values())))
        axes.set_xlabel("teacher's epochs")
        axes.set_ylabel("test error (%)")
        legend_above(axes, f"student {name}")
    return figure
