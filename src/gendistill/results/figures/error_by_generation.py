"""Error (of text: perplexity) by generation, TT Figure 2."""

from typing import Any

from matplotlib.figure import Figure

from gendistill.results.figures.style import (
    LINES,
    MOST_LINES,
    Cell,
    generations_of,
    grouped,
    legend_above,
    line,
    n_of,
    panels,
    plot_baseline,
    plot_means,
    points_of,
    shift_of,
)


def draw(settings: dict[str, Any], cells: list[Cell]) -> Figure:
    """Mean and 95 % t-interval of each lineage, single networks as points, and lineages without students as bands.

    Args:
        settings: `metric`, and `axis`, its name.
        cells: with `panel` ("" where all lineages are alike), `lineage`, `generation` and `metrics`.
    """
    shown = [(title, part) for title, group in grouped(cells, "panel").items() for part in parts(group)]
    named = len({title for title, _ in shown}) > 1
    lines = bool(named) + max(len(grouped(part, "lineage")) for _, part in shown)
    figure, all_axes = panels(len(shown), 3 if named or len(shown) > 4 else 2, 2.2, lines, sharey=not named)
    for axes, (title, part) in zip(all_axes, shown, strict=True):
        own = grouped(part, "lineage")
        growing = {name: group for name, group in own.items() if not is_baseline(group)}
        for i, (name, group) in enumerate(growing.items()):
            points = points_of(group, "generation", settings["metric"])
            plot_means(axes, points, f"{name} ({n_of(v for _, v in points)})", shift_of(i, len(growing)), **line(i))
        for i, (name, group) in enumerate((n, g) for n, g in own.items() if is_baseline(g)):
            values = [cell["metrics"][settings["metric"]] for cell in group]
            plot_baseline(axes, values, f"{name} ({n_of([values])})", LINES[(i + 1) % len(LINES)])
        axes.set_xticks(generations_of(part))
        axes.set_xlim(-0.35, generations_of(part)[-1] + 0.35)
        axes.set_xlabel("generation (0: patriarch)")
        legend_above(axes, title)
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel(settings["axis"])
    return figure


def is_baseline(cells: list[Cell]) -> bool:
    """Whether these are networks without students."""
    return generations_of(cells) == [0]


def parts(cells: list[Cell]) -> list[list[Cell]]:
    """Cells of many lineages, a few lineages at a time; the networks without students are in each part."""
    groups = list(grouped(cells, "lineage").values())
    growing, rest = [g for g in groups if not is_baseline(g)], [g for g in groups if is_baseline(g)]
    if len(growing) > MOST_LINES + 1:
        count = -(-len(growing) // MOST_LINES)
        chunks = [growing[i::count] for i in range(count)]
    else:
        chunks = [growing]
    return [[cell for group in (*chunk, *rest) for cell in group] for chunk in chunks]
