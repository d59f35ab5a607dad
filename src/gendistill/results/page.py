"""The one page that shows all results, self-contained: its template, style and script lie beside this file."""

import re
from collections import Counter
from typing import Any

from gendistill.plan.paths import REPORT_TEMPLATE
from gendistill.plan.plan import Plan
from gendistill.results.asked import asked
from gendistill.results.claims_shown import SIGNS, shown_claims
from gendistill.results.costs import cost, environments, receipts_of
from gendistill.results.graph import draw_graph, graph_of, told

# Pixels a point, so that what is 8 points high in print can be read on a screen; of a broader drawing a phone shows a part.
SCREEN, BROAD = 1.6, 450


def write_page(
    plan: Plan,
    command: str,
    overrides: tuple[str, ...],
    sections: list[dict[str, Any]],
    figures: list[dict[str, Any]],
    claims: list[dict[str, Any]],
) -> str:
    """The report as HTML.

    Args:
        plan: of finished steps.
        command: what reproduces the results, as a user types it.
        overrides: on each experiment, in Hydra's syntax.
        sections: what `experiment_section` or `paper_page` gives of each experiment and published table.
        figures: of each its `study`, `figure`, `title`, `caption`, `alt`, and the drawing as `svg`.
        claims: with their verdicts, as `gendistill.results.claims.judge` gives them.

    Raises:
        UserError: a step has no receipt.
    """
    receipts, graph = receipts_of(plan), graph_of(plan)
    counts = Counter(claim["verdict"] for claim in claims)
    drawn = [_drawn(figure) for figure in figures]
    shown = [
        {**section, "asked": asked(plan, section["name"]), "figures": [f for f in drawn if f["study"] == section["name"]]}
        for section in sections
    ]
    return _render(
        sections=shown,
        overrides=overrides,
        command=command,
        claims=shown_claims(claims),
        verdicts={f"{word} ({sign})": counts[word] for word, sign in SIGNS.items() if counts[word]},
        cost=cost(receipts),
        environments=environments(receipts),
        graph=inline_svg(draw_graph(graph), "steps", f"The steps by kind and generation. {told(graph)}"),
    )


def _drawn(figure: dict[str, Any]) -> dict[str, Any]:
    name = f"{figure['study']}-{figure['figure']}-figure"
    return {**figure, "id": name, "drawing": inline_svg(figure["svg"], name, figure["alt"])}


def inline_svg(text: str, prefix: str, alt: str) -> str:
    """A drawing as an element of the page.

    Args:
        text: an SVG file.
        prefix: goes before all ids in it, which must be unique on the page.
        alt: says in words what it shows.
    """
    from markupsafe import escape

    svg = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{prefix}-", svg)
    if drawn := re.match(r'<svg[^>]*? width="([\d.]+)pt" height="([\d.]+)pt"', svg):
        width, height = (SCREEN * float(points) for points in drawn.groups())
        size = f'width="{width:.0f}" height="{height:.0f}"' + (' class="broad"' if width > BROAD else "")
        svg = svg.replace(f'width="{drawn[1]}pt" height="{drawn[2]}pt"', size, 1)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1)


def _render(**content: Any) -> str:
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(REPORT_TEMPLATE.read_text())
    return template.render(
        style=REPORT_TEMPLATE.with_name("report.css").read_text(),
        script=REPORT_TEMPLATE.with_name("report.js").read_text(),
        **content,
    )
