"""What all figures share: the look, means with intervals, panels, and the files."""

import io
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import ScaledTranslation
from scipy.special import stdtrit

# Okabe & Ito's palette; markers and line styles tell the lines apart without colour.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
LINES = ["-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 3))]
BASELINE = "0.35"
# Inches: a column of a page, and a page.
COLUMN, PAGE = 3.4, 7.0
LEGEND_LINE = 0.175
POINTS = 8
# Points between lines at one x.
SHIFT = 2.5
# The most lines that one panel can hold and still be read.
MOST_LINES = 4
KINDS = ("svg", "pdf", "png")
LOOK = {
    # Text stays text, and the same data give the same bytes.
    "svg.fonttype": "none",
    "svg.hashsalt": "gendistill",
    "pdf.fonttype": 42,
    "font.size": POINTS,
    "axes.titlesize": POINTS,
    "axes.labelsize": POINTS,
    "xtick.labelsize": POINTS,
    "ytick.labelsize": POINTS,
    "legend.fontsize": POINTS,
    "legend.title_fontsize": POINTS,
    "figure.titlesize": POINTS,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.formatter.useoffset": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "grid.linewidth": 0.4,
    "grid.alpha": 0.5,
    "savefig.dpi": 300,
    # Nothing is cut off.
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.03,
}

Cell = dict[str, Any]
Points = list[tuple[float, list[float]]]


@contextmanager
def look() -> Iterator[None]:
    """The look of all figures, for what is drawn and saved inside."""
    with matplotlib.rc_context(LOOK):
        yield


def line(i: int) -> dict[str, Any]:
    """Colour, marker and line style of the `i`-th line of a panel."""
    return {
        "color": COLOURS[i % len(COLOURS)],
        "marker": MARKERS[i % len(MARKERS)],
        "linestyle": LINES[i % len(LINES)],
    }


def interval(values: list[float]) -> tuple[float, float | None]:
    """The mean, and half of its 95 % t-interval: t(0.975, n - 1) s / sqrt(n); None for one value."""
    mean, n = float(np.mean(values)), len(values)
    return mean, float(stdtrit(n - 1, 0.975) * np.std(values, ddof=1) / math.sqrt(n)) if n > 1 else None


def grouped(cells: Iterable[Cell], label: str) -> dict[Any, list[Cell]]:
    """Cells by the value of a label, in order of appearance."""
    groups: dict[Any, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell[label], []).append(cell)
    return groups


def points_of(cells: Iterable[Cell], x: str, metric: str) -> Points:
    """The values of a metric by the value of a label, in order of this."""
    return sorted((place, [cell["metrics"][metric] for cell in group]) for place, group in grouped(cells, x).items())


def n_of(groups: Iterable[list[Any]]) -> str:
    """How many values there are in each group, to be read: `n = 3`, or `n = 2 to 3`."""
    counts = [len(group) for group in groups]
    return f"n = {min(counts)}" + (f" to {max(counts)}" if max(counts) > min(counts) else "")


def plot_means(axes: Axes, points: Points, label: str, shift: float = 0.0, **how: Any) -> None:
    """A line through the mean at each x, bars of its 95 % t-interval, and each value as a small point; moved right by `shift`."""
    x = [place for place, _ in points]
    # The points keep their x: only where they are drawn is moved.
    moved = axes.transData + ScaledTranslation(shift / 72, 0, axes.figure.dpi_scale_trans)
    means, halves = zip(*(interval(values) for _, values in points), strict=True)
    if any(half is not None for half in halves):
        bars = [half if half is not None else 0 for half in halves]
        axes.errorbar(x, means, bars, fmt="none", ecolor=how["color"], capsize=2.5, elinewidth=0.9, capthick=0.9, transform=moved)
        every = [(place, value) for place, values in points for value in values]
        small = {"markersize": 2.6, "markeredgecolor": "white", "markeredgewidth": 0.4, "transform": moved}
        axes.plot(*zip(*every, strict=True), "o", color=how["color"], **small)
    axes.plot(x, means, label=label, transform=moved, **how)
    # Lines that are moved do not make room for themselves.
    ends = [(p, mean + sign * (half or 0)) for p, mean, half in zip(x, means, halves, strict=True) for sign in (-1, 1)]
    axes.update_datalim([*ends, *((place, value) for place, values in points for value in values)])
    axes.autoscale_view()


def plot_baseline(axes: Axes, values: list[float], label: str, linestyle: Any = (0, (4, 2))) -> None:
    """A horizontal line at the mean, and a band of its 95 % t-interval."""
    mean, half = interval(values)
    axes.axhline(mean, color=BASELINE, linestyle=linestyle, linewidth=1, label=label, zorder=1)
    if half is not None:
        axes.axhspan(mean - half, mean + half, color=BASELINE, alpha=0.13, linewidth=0, zorder=0)


def shift_of(i: int, count: int) -> float:
    """How far the `i`-th of `count` lines is moved, in points, so that bars at one x can be told apart."""
    return SHIFT * (i - (count - 1) / 2)


def panels(count: int, columns: int, height: float, legend: int = 0, **shared: Any) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, as wide as a column for one panel and as a page for several.

    Args:
        count: of panels.
        columns: the most panels in a row.
        height: of a row in inches, without legends.
        legend: the most lines of a legend above a panel.
        shared: `sharex`, `sharey`.
    """
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(COLUMN if columns == 1 else PAGE, (height + legend * LEGEND_LINE) * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, **shared).flat)
    for empty in axes[count:]:
        empty.remove()
    for own in axes[:count]:
        own.grid(axis="y")
        own.set_axisbelow(True)
    return figure, axes[:count]


def legend_above(axes: Axes, title: str = "", columns: int = 1) -> None:
    """The legend of a panel above it, where it hides nothing, under the panel's title."""
    axes.legend(title=title, loc="lower left", bbox_to_anchor=(0, 1), alignment="left", borderpad=0.2, ncols=columns)


def shared_legend(figure: Figure, entries: dict[str, dict[str, Any]], columns: int) -> None:
    """One legend for all panels, above them."""
    handles = [Line2D([], [], label=label, **how) for label, how in entries.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(columns, len(handles)))


def name_generation(k: int) -> str:
    """How legends name a generation."""
    return f"generation {k}" if k else "patriarch"


def generations_of(cells: list[Cell]) -> list[int]:
    """All generations of some cells, in order."""
    return sorted({cell["generation"] for cell in cells})


def log_if_positive(axes: Axes, values: list[float]) -> None:
    """A logarithmic y-axis, where every value allows it."""
    if min(values) > 0:
        axes.set_yscale("log")
        plain_log(axes.yaxis, max(values) / min(values))


def plain_log(axis: Axis, ratio: float) -> None:
    """Plain numbers at a logarithmic axis, as many as its `ratio` of the largest to the smallest value leaves room for."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio < 100 else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def rendered(figure: Figure, kind: str, title: str = "") -> bytes:
    """The figure as `svg`, `pdf` or `png` (300 dots per inch), without a date."""
    dates = {"svg": {"Date": None, "Title": title}, "pdf": {"CreationDate": None, "Title": title}, "png": {"Title": title}}
    buffer = io.BytesIO()
    with look():
        figure.savefig(buffer, format=kind, metadata=dates[kind])
    return buffer.getvalue()
