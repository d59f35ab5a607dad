"""Figures, readable in print and by the colour-blind."""

import io
from typing import TYPE_CHECKING

import matplotlib
import pandas as pd

matplotlib.use("Agg")
# Text stays text, and the same data give the same bytes.
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "gendistill", "font.family": "DejaVu Sans"})

import matplotlib.pyplot as plt  # noqa: E402

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito's palette, and markers that tell the lines apart without colour.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]


AXES = {"test_error_pct": "test error (%), last epoch", "test_perplexity": "test perplexity"}


def draw_by_generation(runs: pd.DataFrame, summary: pd.DataFrame, metric: str) -> "Figure":
    """A metric by generation: mean and standard deviation over seeds, each run as a small point; from scratch as a band."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    names = [name for name in summary["lineage"].unique() if name != "scratch"]
    for i, name in enumerate(names):
        rows = summary[summary["lineage"] == name]
        own = runs[runs["lineage"] == name]
        shift = 0.06 * (i - (len(names) - 1) / 2)
        axes.errorbar(
            rows["generation"] + shift,
            rows[f"{metric}_mean"],
            rows[f"{metric}_sd"].fillna(0),
            color=COLOURS[i % len(COLOURS)],
            marker=MARKERS[i % len(MARKERS)],
            capsize=3,
            label=f"{name} (n = {rows['n'].min()})",
        )
        axes.plot(own["generation"] + shift, own[metric], ".", color=COLOURS[i % len(COLOURS)], alpha=0.35)
    scratch = summary[summary["lineage"] == "scratch"]
    for _, row in scratch.iterrows():
        mean, spread = row[f"{metric}_mean"], row[f"{metric}_sd"]
        axes.axhline(mean, color="0.4", linestyle="--", label=f"from scratch (n = {row['n']})")
        if pd.notna(spread):
            axes.axhspan(mean - spread, mean + spread, color="0.4", alpha=0.12, linewidth=0)
    generations = sorted(runs.loc[runs["lineage"] != "scratch", "generation"].unique()) or [0]
    axes.set_xticks(generations, ["patriarch" if g == 0 else str(g) for g in generations])
    axes.set_xlabel("generation")
    axes.set_ylabel(AXES[metric])
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    return figure


def to_svg(figure: "Figure") -> bytes:
    """The figure as SVG without a date."""
    return _save(figure, "svg", metadata={"Date": None})


def to_png(figure: "Figure") -> bytes:
    """The figure as PNG at 200 dots per inch."""
    return _save(figure, "png", dpi=200)


def _save(figure: "Figure", kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, **options)
    return buffer.getvalue()
