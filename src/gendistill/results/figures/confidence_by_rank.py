"""Mean probability of the most probable classes, by rank and generation (TT Tables 1 and 3)."""

from typing import Any

from matplotlib.figure import Figure

from gendistill.results.figures.style import (
    Cell,
    Points,
    generations_of,
    grouped,
    line,
    log_if_positive,
    n_of,
    name_generation,
    panels,
    plot_means,
    shared_legend,
    shift_of,
)


def draw(settings: dict[str, Any], cells: list[Cell]) -> Figure:
    """A panel for each lineage: mean and 95 % t-interval of each generation at each rank.

    Args:
        settings: none that matters.
        cells: with `lineage`, `generation` and `metrics`.
    """
    lineages = grouped(cells, "lineage")
    figure, all_axes = panels(len(lineages), 2 if len(lineages) <= 4 else 3, 2.5, sharey=True)
    generations = generations_of(cells)
    for axes, (name, group) in zip(all_axes, lineages.items(), strict=True):
        networks = grouped(group, "generation")
        for k in sorted(networks):
            i = generations.index(k)
            plot_means(axes, by_rank(networks[k]), name_generation(k), shift_of(i, len(generations)), **line(i))
        axes.set_title(f"{name} ({n_of(networks.values())})", loc="left")
        axes.set_xticks(sorted({rank for own in networks.values() for rank, _ in by_rank(own)}))
        axes.set_xlabel("rank of the class")
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel("mean probability (%)")
    log_if_positive(all_axes[0], [value for _, values in by_rank(cells) for value in values])
    shared_legend(figure, {name_generation(k): line(i) for i, k in enumerate(generations)}, 4)
    return figure


def by_rank(cells: list[Cell]) -> Points:
    """The mean probabilities in percent, one for each network, by rank from 1; as many ranks as there are classes."""
    names = {rank: f"confidence_top{rank}_pct" for rank in range(1, 5)}
    return [(rank, [c["metrics"][name] for c in cells]) for rank, name in names.items() if name in cells[0]["metrics"]]
