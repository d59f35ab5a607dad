"""Error of ensembles by the number of networks that had to be trained, for generations and from scratch."""

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gendistill.results.figures.style import COLOURS, Cell, Points, grouped, n_of, panels, plot_means, shared_legend, shift_of

KINDS = {
    "network": ("one network of a generation", {"color": COLOURS[0], "marker": "o", "linestyle": ":", "markerfacecolor": "white"}),
    "students": ("ensemble of its students", {"color": COLOURS[1], "marker": "^", "linestyle": "-."}),
    "lineage": ("ensemble with the patriarch", {"color": COLOURS[1], "marker": "D", "linestyle": "-"}),
    "scratch": ("ensemble from scratch", {"color": COLOURS[2], "marker": "s", "linestyle": "--"}),
}


def draw(settings: dict[str, Any], cells: list[Cell]) -> Figure:
    """A panel for each lineage, with the networks from scratch in each.

    Args:
        settings: none that matters.
        cells: with `lineage`, `kind` (one of `KINDS`), `generation` (None for ensembles), `networks_trained` and `metrics`.
    """
    lineages = grouped(cells, "lineage")
    scratch = lineages.pop("scratch", [])
    figure, all_axes = panels(len(lineages), 2 if len(lineages) <= 4 else 3, 2.6, sharey=True)
    for axes, (name, group) in zip(all_axes, lineages.items(), strict=True):
        for i, (kind, own) in enumerate(grouped([*group, *scratch], "kind").items()):
            points = points_by_network(own)
            plot_means(axes, points, KINDS[kind][0], shift_of(i, len(KINDS)), **KINDS[kind][1])
        axes.set_title(f"{name} ({n_of([list(grouped(group, 'seed'))])})", loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("networks trained")
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel("test error (%)")
    kinds = {cell["kind"] for cell in cells}
    shared_legend(figure, {name: how for kind, (name, how) in KINDS.items() if kind in kinds}, 2)
    return figure


def points_by_network(cells: list[Cell]) -> Points:
    """Errors by the number of networks trained; generations that cost the same stay apart."""
    alike: dict[tuple[int, int], list[float]] = {}
    for cell in cells:
        alike.setdefault((cell["networks_trained"], cell["generation"] or 0), []).append(cell["metrics"]["test_error_pct"])
    return [(cost, values) for (cost, _), values in sorted(alike.items())]
