"""The steps of a plan as a picture: kinds of steps by generation, in layers, as SVG."""

from collections import Counter
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from html import escape
from itertools import pairwise
from statistics import fmean
from typing import Any

from gendistill.plan.plan import Plan
from gendistill.plan.step import Step

# In pixels; WIDTH is that of a letter of text of 13 pixels, on the safe side.
WIDTH, PADDING, HEIGHT, GAP, DOWN, MARGIN = 7.2, 12, 42, 18, 34, 10
LANE = 6
SWEEPS = 8
NAMES = {
    "dataset": "data set",
    "paper_table": "published table",
    "softlabels": "soft labels",
    "language_softlabels": "language soft labels",
}

Edges = dict[str, set[str]]


@dataclass(frozen=True)
class Graph:
    """Kinds of steps by generation.

    Attributes:
        counts: how many steps there are, by name of the kind and generation, such as `generation 1`, those that are read first.
        reads: of each, what it reads, without what is read through another one.
        layers: each is below all that it reads; where an edge goes through a layer, that has the edge, as (from, to).
    """

    counts: dict[str, int]
    reads: Edges
    layers: list[list[Any]]


def graph_of(plan: Plan) -> Graph:
    """The graph of a plan.

    Raises:
        graphlib.CycleError: kinds of steps by generation read each other in a circle.
    """
    names = {name: _name(plan, step) for name, step in plan.steps.items()}
    counts = Counter(names.values())
    reads: Edges = {name: set() for name in counts}
    for step in plan.steps.values():
        reads[names[step.name]] |= {names[parent] for parent in step.parents} - {names[step.name]}
    ordered = list(TopologicalSorter({name: sorted(reads[name]) for name in sorted(reads)}).static_order())
    reads = _reduced(reads)
    return Graph({name: counts[name] for name in ordered}, reads, _layers(ordered, reads))


def in_words(kind: str) -> str:
    """A kind of step as people say it."""
    return NAMES.get(kind, kind.replace("_", " "))


def _name(plan: Plan, step: Step) -> str:
    """The kind of a step, and its generation where it has one."""
    kind = in_words(step.kind)
    if step.kind.endswith("softlabels"):
        teacher = plan.steps[str(step.inputs["teacher"])]
        number = teacher.settings.get("generation", 0)
        return f"{kind} of {f'generation {number}' if number else 'patriarch'}"
    return f"{kind} {step.settings['generation']}" if step.kind.endswith("generation") else kind


def _reduced(reads: Edges) -> Edges:
    """Without the edges that a longer way implies."""

    @cache
    def behind(name: str) -> frozenset[str]:
        return frozenset(reads[name]).union(*(behind(parent) for parent in reads[name]))

    return {name: {p for p in parents if not any(p in behind(other) for other in parents)} for name, parents in reads.items()}


def _layers(ordered: list[str], reads: Edges) -> list[list[Any]]:
    """Each name one layer below the lowest that it reads; edges lie beside what they pass, and few of them cross."""
    depth: dict[str, int] = {}
    for name in ordered:
        depth[name] = 1 + max((depth[parent] for parent in reads[name]), default=-1)
    for name in reversed(ordered):
        # What reads nothing stands just above what reads it.
        readers = [depth[other] for other in ordered if name in reads[other]]
        if not reads[name] and readers:
            depth[name] = min(readers) - 1
    layers: list[list[Any]] = [[] for _ in range(1 + max(depth.values(), default=-1))]
    for name in ordered:
        layers[depth[name]].append(name)
        for parent in sorted(reads[name]):
            for between in range(depth[parent] + 1, depth[name]):
                layers[between].append((parent, name))
    links = _links(layers, reads)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        order = range(1, len(layers)) if down else range(len(layers) - 2, -1, -1)
        for n in order:
            place = {node: i - len(layers[n - 1 if down else n + 1]) / 2 for i, node in enumerate(layers[n - 1 if down else n + 1])}
            near: dict[Any, list[float]] = {}
            for upper, lower in links[n - 1 if down else n]:
                near.setdefault(lower if down else upper, []).append(place[upper if down else lower])
            layers[n].sort(key=lambda node, near=near: fmean(near.get(node, [0.0])))
    return layers


def _links(layers: list[list[Any]], reads: Edges) -> list[list[tuple[Any, Any]]]:
    """For each layer but the last, the pieces of edges between it and the next one."""
    links = []
    for upper, lower in pairwise(layers):
        pieces = []
        for node in lower:
            edges = [(parent, node) for parent in sorted(reads[node])] if isinstance(node, str) else [node]
            for parent, name in edges:
                start = parent if parent in upper else (parent, name)
                if start in upper:
                    pieces.append((start, node))
        links.append(pieces)
    return links


def told(graph: Graph) -> str:
    """The graph as text: what reads what."""
    lines = []
    for name, count in graph.counts.items():
        parents = " and ".join(sorted(graph.reads[name]))
        lines.append(f"{name} × {count}{f' from {parents}' if parents else ''}")
    return "; ".join(lines) + "."


def draw_graph(graph: Graph) -> str:
    """The graph as SVG: black on white, each layer below what it reads."""
    # Boxes that are alone in their layer are alike, so that edges beside them are straight.
    alone = [[node for node in layer if isinstance(node, str)] for layer in graph.layers]
    widest = max((_width(own[0], graph.counts) for own in alone if len(own) == 1), default=0)
    sizes = [
        [widest if own == [node] else _width(node, graph.counts) for node in layer]
        for layer, own in zip(graph.layers, alone, strict=True)
    ]
    widths = [sum(own) + GAP * (len(own) - 1) for own in sizes]
    width = max(widths, default=0) + 2 * MARGIN
    place: dict[Any, tuple[float, float]] = {}
    for n, layer in enumerate(graph.layers):
        x = (width - widths[n]) / 2
        for node, own in zip(layer, sizes[n], strict=True):
            place[n, node] = (x + own / 2, MARGIN + n * (HEIGHT + DOWN))
            x += own + GAP
    height = max(0, len(graph.layers) * (HEIGHT + DOWN) - DOWN) + 2 * MARGIN
    parts = [_line(place[n, a], place[n + 1, b]) for n, own in enumerate(_links(graph.layers, graph.reads)) for a, b in own]
    for n, layer in enumerate(graph.layers):
        for node, own in zip(layer, sizes[n], strict=True):
            x, y = place[n, node]
            if isinstance(node, str):
                parts.append(_box(x, y, own, node, graph.counts[node]))
            else:
                parts.append(f'<path d="M{x:.1f} {y:.1f}V{y + HEIGHT:.1f}"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" font-family="sans-serif" font-size="13" text-anchor="middle" fill="none" stroke="#555">'
        f"{''.join(parts)}</svg>"
    )


def _width(node: Any, counts: dict[str, int]) -> float:
    return 2 * PADDING + WIDTH * max(len(node), len(f"× {counts[node]}")) if isinstance(node, str) else LANE


def _line(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = start, end
    y1 += HEIGHT
    middle = (y1 + y2) / 2
    return f'<path d="M{x1:.1f} {y1:.1f}C{x1:.1f} {middle:.1f} {x2:.1f} {middle:.1f} {x2:.1f} {y2:.1f}"/>'


def _box(x: float, y: float, width: float, name: str, count: int) -> str:
    text = f'<text x="{x:.1f}" y="{y + 18:.0f}" fill="#000" stroke="none">{escape(name)}</text>'
    text += f'<text x="{x:.1f}" y="{y + 34:.0f}" fill="#000" stroke="none">× {count:,}</text>'
    box = f'<rect x="{x - width / 2:.1f}" y="{y:.0f}" width="{width:.1f}" height="{HEIGHT}" rx="5" fill="#f2f5f8" stroke="#333"/>'
    return box + text
