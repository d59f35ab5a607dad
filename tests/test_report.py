"""The report: what it says of made-up runs, that it stands by itself, and that nothing in it is taken as HTML."""

import json
import re
import shlex
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gendistill.errors import UserError
from gendistill.files import duration
from gendistill.plan import build_plan
from gendistill.provenance.cells import find_row
from gendistill.results import report as report_module
from gendistill.results import view
from gendistill.results.asked import asked
from gendistill.results.claims_shown import shown_claims
from gendistill.results.costs import cost, energy, environments
from gendistill.results.graph import draw_graph, graph_of
from gendistill.results.inference import Comparison, seeds_among
from gendistill.results.page import inline_svg
from gendistill.results.paper_cells import paper_page
from gendistill.results.wide import Cell, WideTable
from tests import made_up_report

PAPER = "tolerant_teachers_table1"
OVERRIDES = ("seeds=[0,1,2]", "+note='<b>&'")
BLOCKS = ("p", "td", "th", "dt", "dd", "li", "summary")
VOID = ("meta", "link", "br", "path", "rect", "use", "hr", "img")


class Page(HTMLParser):
    """What the tests ask of a page: ids, links, sources, its text, and the text by id of the innermost element that has one."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids, self.links, self.sources, self.tags, self.names = [], [], [], [], []
        self.open: list[tuple[str, str]] = []
        self.text: dict[str, str] = {}
        self.whole = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        own = dict(attributes)
        self.tags.append(tag)
        self.ids += [own["id"]] if "id" in own else []
        self.links += [own["href"]] if tag == "a" else []
        self.sources += [own[key] for key in ("src", "srcset", "data", "action", "poster") if key in own]
        if tag in ("svg", "img"):
            self.names.append(own.get("aria-label") or own.get("alt"))
        if tag in BLOCKS:
            self.handle_data(" ")
        if tag not in VOID:
            self.open.append((tag, own.get("id", self.open[-1][1] if self.open else "")))

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.open.pop()[0] == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        inside = self.open[-1][1] if self.open else ""
        if not self.open or self.open[-1][0] not in ("style", "script"):
            self.text[inside] = self.text.get(inside, "") + data
            self.whole += data


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The folder, plan and page of the demo and a published table."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        plan = made_up_report.write_runs(["demo", PAPER], ("seeds=[0,1,2]", "description='<script>alert(1)</script>'"))
        yield folder, plan, made_up_report.write_report(plan, OVERRIDES)


@pytest.fixture(scope="module")
def page(report):
    return Page(report[2])


def words(text: str) -> str:
    return " ".join(text.split())


def test_every_link_leads_somewhere_and_nothing_comes_from_outside(report, page):
    assert len(page.ids) == len(set(page.ids))
    inside = [link[1:] for link in page.links if link.startswith("#")]
    files = {link for link in page.links if not link.startswith("#")}
    assert len(inside) > 50 and set(inside) <= set(page.ids)
    assert all((report[0] / "results" / file).is_file() for file in files)
    # Receipts of networks, ensembles, transfers and statistics; CSV files; figures.
    kinds = {file.split("/")[2] for file in files if file.startswith("../runs/")}
    assert kinds >= {"patriarch", "generation", "ensemble", "transfer"}
    tables = {f"tables/{name}" for name in (f"{PAPER}.csv", f"{PAPER}_runs.csv", "demo_error.tex", "claims.csv", "claims.md")}
    assert tables | {"figures/demo_lines.pdf", "index.json", "params.yaml"} <= files
    assert page.sources == [] and page.open == []
    assert not re.search(r"https?://(?!www\.w3\.org/(2000/svg|1999/xlink))|@import|url\((?!#)", report[2])
    assert page.tags.count("link") == 1 and '<link rel="icon" href="data:,">' in report[2]


def test_the_report_holds_figures_with_their_words(report, page):
    assert page.names.count('Lines of "error" by generation') == 2
    assert all(page.names) and len(page.names) == 3
    assert "Mean and spread &amp; more." in report[2]
    for kind, text in (("svg", made_up_report.SVG), ("pdf", "PDF"), ("png", "PNG")):
        assert (report[0] / f"results/figures/{PAPER}_lines.{kind}").read_text() == text


def test_ids_of_drawings_are_unique_and_still_meant():
    shown = inline_svg(made_up_report.SVG, "one", 'a "b" <c>')
    assert 'aria-label="a &#34;b&#34; &lt;c&gt;"' in shown and 'role="img"' in shown
    assert 'id="one-mark"' in shown and 'href="#one-mark"' in shown and "url(#one-clip)" in shown
    assert "metadata" not in shown and shown.startswith("<svg")


def test_claims_come_first_each_with_its_numbers(report, page):
    order = [
        page.ids.index(name)
        for name in ("claims", "asked", "demo", "demo-error", PAPER, "cost", "steps", "environment", "reproduce")
    ]
    assert order == sorted(order)
    said = {name: words(page.text[f"claim-demo-{name}"]) for name in [*made_up_report.CLAIMS, "both"]}
    assert said["reproduced"].startswith("✓ reproduced A student beats its teacher. BAN, Table 2. Tested on")
    assert said["contradicted"].startswith("✗ contradicted")
    assert said["undecided"].startswith("? undecided")
    assert said["both"].startswith("✗ contradicted") and "✓ reproduced test error %: ban generation 1 lower than" in said["both"]
    # Six comparisons of each of two studies, one of which has no p; the difference of [5, 5.1, 4.8] and [5.1, 5, 5] is -0.0667.
    assert "p after Holm, 10 comparisons" in said["undecided"]
    assert re.search(r"Difference -0\.0667, 95 % interval -0\.2\d* to \+0\.1\d*", said["undecided"])
    assert "n 3 pairs of the same seed" in said["undecided"]
    (test,) = made_up_report.claims("demo")["claims"][2]["comparisons"]
    needed = seeds_among(Comparison(**{name: test[name] for name in Comparison.__dataclass_fields__}), 10)
    assert needed > test["power_seeds"]
    assert f"Seeds it would take {needed} in all" in said["undecided"]
    assert "Seeds it would take" not in said["reproduced"]
    absent = words(page.text["claim-demo-absent"])
    assert absent.startswith("– not tested") and absent.endswith("Not tested on demo: it has no such row.")
    assert "Difference -0.20 (no interval from one run)" in said["single"] and "at least two are needed" in said["single"]
    assert "12 claims: 2 reproduced (✓), 4 contradicted (✗), 4 undecided (?), 2 not tested (–)." in words(page.whole)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "7 in all"),
        ({"paired": False}, "7 on each side"),
        ({"power_seeds": None}, "more than 1,000 in all"),
        ({"power_seeds": None, "sd": 0.0}, "unknown: there is no difference, or no spread"),
        ({"power_seeds": None, "difference": 0.0}, "unknown: there is no difference, or no spread"),
        ({"power_seeds": None, "n": 1, "sd": None}, "unknown: at least two"),
    ],
)
def test_how_many_seeds_it_would_take(changes, told):
    (test,) = made_up_report.claims("demo")["claims"][2]["comparisons"]
    own = {**test, "power_seeds": 7, "adjusted_p": 0.5, "verdict": "undecided", **changes}
    (claim,) = shown_claims([{"verdict": "undecided", "comparisons": [own]}])
    assert claim["comparisons"][0]["facts"]["Seeds it would take"].startswith(told)


def test_claims_at_scale_smoke_are_not_tested(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = made_up_report.write_runs([PAPER], ("scale=smoke", "seeds=[0]"))
    page = Page(made_up_report.write_report(plan))
    said = words(page.text[f"claim-{PAPER}-reproduced"])
    assert said.startswith("– not tested") and "p after Holm" not in said
    assert "the numbers mean nothing" in words(page.whole)


def test_without_claims_and_figures_the_report_is_whole(report, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = made_up_report.write_runs(["demo"], ("seeds=[0]",))
    for kind in ("claims", "figure"):
        for step in plan.of_kind(kind):
            del plan.steps[step.name]
    plan.roles = {role: name for role, name in plan.roles.items() if name in plan.steps}
    page = Page(made_up_report.write_report(plan))
    assert not Path("results/tables/claims.csv").exists()
    assert "claims" not in page.ids and "claim" not in words(page.whole) and page.open == []
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(page.names) == 1
    # One run has no spread.
    assert "(one run)" in page.whole
    assert "demo_lines.svg" not in "".join(page.links)


def test_what_users_write_is_shown_and_not_taken_as_html(report, page):
    assert report[2].count("<script>") == 1
    assert "<script>alert(1)</script>" in words(page.whole)
    assert "+note='<b>&'" in words(page.whole)
    assert "<b>" not in report[2]


def test_a_mean_leads_to_its_runs_and_provenance_finds_the_same(report, page):
    row = find_row("demo_error:ban/3")
    group = page.text["demo-error-4"]
    assert "gendistill provenance demo_error:ban/3" in group
    # The made-up error is 4 + generation + seed / 4.
    lines = re.findall(r"ban/3\s*(\d)\s*([\d.]+)", group.partition("ban/3")[2])
    assert lines == [("0", "7.0000"), ("1", "7.2500"), ("2", "7.5000")]
    text = report[2]
    own = text[text.index('id="demo-error-4"') :].partition("</tbody>")[0]
    assert re.findall(r'href="\.\./runs/([^"]+)/receipt\.json"', own) == list(row.runs)
    assert '<a href="#demo-error-4">7.25 ± 0.25</a>' in text


def test_every_command_of_the_report_names_one_row(report):
    commands = re.findall(r"<code>(gendistill provenance .*?)</code>", report[2].replace("&#39;", "'"))
    assert len(commands) == 8 + 11 + 7 + 7 + 30
    for command in commands:
        assert find_row(shlex.split(command)[2]).runs


def test_published_rows_lead_to_their_runs(report, page):
    content = json.loads(Path(next(s for s in report[1].of_kind("paper_table")).folder, "table.json").read_text())
    n = next(n for n, row in enumerate(content["rows"]) if row["runs"])
    group = page.text[f"{PAPER}-{n + 1}"]
    assert f"gendistill provenance {PAPER}:{n + 1}" in group
    assert [re.search(rf"\b{run['seed']}\s+{run['value']:.4f}", group) is not None for run in content["rows"][n]["runs"]] == [
        True
    ] * 3
    assert f'href="#{PAPER}-{n + 1}"' in report[2]


def wide_content() -> dict:
    """A published table of two columns and two lines, one cell of which is not there and one not run."""
    labels = {"row": "", "network": "wrn", "dataset": "cifar100", "method": "ban", "generation": "1", "metric": "test_error_pct"}
    empty = {**labels, "published": "", "published_spread": "", "ours": None, "sd": None, "n": 0, "difference": None, "note": ""}
    ours = {**empty, "published": "18.3", "ours": 18.5, "sd": 0.1, "n": 3, "difference": 0.2, "not_run": ""}
    ours["runs"] = [{"seed": seed, "value": 18.4 + seed / 10, "steps": ["generation/a", "generation/b"]} for seed in range(3)]
    rows = [ours, {**empty, "published": "17", "not_run": "no <data>", "runs": []}, {**empty, "not_run": "", "runs": []}]
    return {"table": "paper_table1", "title": "T", "choices": [], "scale": "full", "rows": rows, "notes": []}


def test_a_table_of_the_papers_shape(monkeypatch):
    cells = [
        Cell("18.3", "18.50 ± 0.10", "+0.20", "3", (2,), True, "", 0),
        Cell("17", "not run", "–", "–", (1, 2), False, "no <data>", 1),
        Cell("–", "–", "–", "–", (), False, "", 2),
    ]
    table = WideTable(["network"], ["a", "b"], [(["wrn"], cells[:2]), (["lstm"], [cells[2], None])], ["no <data>", "a remark"])
    section = {"name": "paper_table1", "caption": "Ours below.", "files": {}, "choices": [], "wide": table}
    monkeypatch.setattr("gendistill.results.paper_cells.paper_section", lambda content: section)
    (shown,) = paper_page(wide_content())["tables"]
    assert [column["text"] for column in shown["columns"]] == ["network", "a", "b"]
    (name, run, not_run), (_, empty, none) = shown["rows"]
    assert name == {"text": "wrn", "sort": "wrn"}
    assert (run["text"], run["sort"], run["href"], run["mark"]) == ("18.50 ± 0.10", 18.5, "#paper_table1-1", "†")
    assert (run["published"], run["small"]) == ("18.3", "+0.20, n = 3")
    assert (run["notes"], run["published_notes"]) == ({}, {2: "#paper_table1-note-2"})
    assert (not_run["text"], not_run["sort"], not_run["href"]) == ("not run", "", "")
    assert (not_run["notes"], not_run["published_notes"]) == ({1: "#paper_table1-note-1"}, {2: "#paper_table1-note-2"})
    assert (empty["published"], empty["small"]) == ("", "")
    assert none["text"] == ""
    (group,) = shown["runs"]["groups"]
    assert [line["values"] for line in group["lines"]] == [["18.4000"], ["18.5000"], ["18.6000"]]
    assert group["lines"][0]["steps"] == ["generation/a", "generation/b"]


def receipt(kind: str, seconds: float, energy: dict | None = None, **environment: object) -> dict:
    own = {"python": "3.11.7", "processor": "CPU", "git_commit": "abc", "git_changed": False, **environment}
    times = {"started": "2026-11-21T10:00:00+00:00", "seconds": seconds}
    return {"spec": {"kind": kind}, "metrics": {}, "times": times, "environment": own, "resources": {"energy": energy}}


def test_cost_is_the_sum_of_the_receipts():
    receipts = [receipt("patriarch", 60.25), receipt("generation", 3600), receipt("generation", 0.5), receipt("dataset", 1)]
    found = cost(receipts)
    assert {kind["kind"]: (kind["steps"], kind["time"]) for kind in found["kinds"]} == {
        "patriarch": (1, "0:01:00"),
        "generation": (2, "1:00:00"),
        "data set": (1, "0:00:01"),
    }
    assert (found["networks"], found["network_time"]) == (3, duration(3660.75))
    assert found["total"]["seconds"] == 3661.75
    # Energy is never made up.
    assert found["devices"] == {} and not any(kind["energy"] for kind in found["kinds"])


def test_energy_is_shown_where_receipts_have_it():
    told = {"processor_joules": 1800.0, "gpu_joules": None}
    found = cost([receipt("patriarch", 1, told), receipt("patriarch", 1, told), receipt("patriarch", 1), receipt("dataset", 1)])
    assert found["devices"] == {"processor_joules": "energy of processors"}
    own = {kind["kind"]: kind["energy"] for kind in found["kinds"]}
    assert own == {"patriarch": {"processor_joules": {"joules": 3600.0, "text": "1.00 Wh", "measured": 2}}, "data set": {}}
    assert energy(7.2e6) == "2.00 kWh"


def test_energy_in_the_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = made_up_report.write_runs(["demo"], ("seeds=[0]",))
    assert "energy" not in made_up_report.write_report(plan).lower()
    step = plan.of_kind("patriarch")[0]
    made_up_report.fake_runs.edit_receipt(step.folder, resources={"energy": {"processor_joules": None, "gpu_joules": 36000.0}})
    page = made_up_report.write_report(plan)
    assert "energy of GPUs" in page and "energy of processors" not in page
    assert f"10.00 Wh (1 of {len(plan.of_kind('patriarch'))} steps)" in page


def test_environments_are_counted():
    receipts = [
        receipt("patriarch", 1, threads=2),
        receipt("patriarch", 1, gpu="GPU", git_changed=True),
        receipt("dataset", 1, torch="2"),
    ]
    found = environments(receipts)
    assert found["machines"] == {"CPU, 2 thread(s)": 1, "GPU, 1 thread(s)": 1}
    assert found["versions"] == {"Python 3.11.7": 3, "torch 2": 1}
    assert found["commits"] == {"abc": 2, "abc, with changes that were not committed": 1}


def test_what_was_asked(report, page):
    found = asked(report[1], "demo")
    assert found["networks"] == "resnet8" and found["seeds"] == "0, 1, 2" and found["generations"] == "3"
    assert "mnist5k (50 training images a class)" in found["data"]
    assert "tsd (u 0.6; top_k 5)" in found["objectives"] and "tolerant (lambda 0.6;" in found["objectives"]
    assert found["recipes"] == "digits (15 epochs, batches of 25)"
    assert made_up_report.COMMAND in words(page.whole)


def reachable(reads: dict[str, set[str]], name: str) -> set[str]:
    return set().union(*({parent} | reachable(reads, parent) for parent in reads[name]))


@pytest.mark.parametrize(
    "names", [["demo"], ["demo", "pydoc", PAPER, "efficacy_table9", "tolerant_teachers_table2", "ban_icml2018_table6"]]
)
def test_the_graph_of_steps(names):
    plan = build_plan(names, ("scale=smoke", "seeds=[0]"), without_data=True)
    graph = graph_of(plan)
    assert sum(graph.counts.values()) == len(plan.steps)
    assert graph.counts["generation 1"] == sum(step.settings["generation"] == 1 for step in plan.of_kind("generation"))
    assert reachable(graph.reads, "generation 2") >= {"generation 1", "soft labels of generation 1", "patriarch", "data set"}
    # No edge is implied by others.
    for name, parents in graph.reads.items():
        for parent in parents:
            assert parent not in reachable({**graph.reads, name: parents - {parent}}, name)
    depth = {node: n for n, layer in enumerate(graph.layers) for node in layer if isinstance(node, str)}
    assert depth.keys() == graph.counts.keys()
    assert all(depth[parent] < depth[name] for name, parents in graph.reads.items() for parent in parents)
    svg = draw_graph(graph)
    width, height = map(float, re.search(r'viewBox="0 0 (\d+) (\d+)"', svg).groups())
    boxes = [tuple(map(float, found)) for found in re.findall(r'<rect x="([\d.]+)" y="(\d+)" width="([\d.]+)" height="(\d+)"', svg)]
    assert len(boxes) == len(graph.counts)
    assert all(x >= 0 and x + w <= width and y + h <= height for x, y, w, h in boxes)
    for x, y, w, _ in boxes:
        assert not any(y == y2 and x < x2 < x + w for x2, y2, _, _ in boxes)
    texts = re.findall(r">([^<]+)</text>", svg)
    assert Counter(texts[::2]) == Counter(graph.counts.keys())
    # Of each edge one piece from layer to layer.
    pieces = sum(depth[name] - depth[parent] for name, parents in graph.reads.items() for parent in parents)
    assert len(re.findall(r'<path d="M[\d. ]+C', svg)) == pieces


def test_the_same_results_give_the_same_bytes(report):
    assert made_up_report.write_report(report[1], OVERRIDES) == report[2]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"n": 2}, "a verdict needs 3 seeds"),
        ({"n": 1, "low": None, "high": None}, "a verdict needs 3 seeds"),
        ({"low": -0.1, "high": 0.3}, "the interval includes zero"),
        ({"low": 0.1, "high": 0.3}, "p is not below 0.05"),
    ],
)
def test_why_a_claim_is_undecided(changes, told):
    (test,) = made_up_report.claims("demo")["claims"][2]["comparisons"]
    own = {**test, "adjusted_p": 0.5, "verdict": "undecided", **changes}
    (claim,) = shown_claims([{"verdict": "undecided", "comparisons": [own]}])
    assert claim["comparisons"][0]["facts"]["Undecided because"] == told


@pytest.mark.parametrize("file", ["report.html.j2", "report.css", "report.js"])
def test_what_the_page_is_made_of_is_part_of_its_identity(tmp_path, monkeypatch, file):
    folder = shutil.copytree(view.REPORT_TEMPLATE.parent, tmp_path / "results", ignore=shutil.ignore_patterns("figures"))
    monkeypatch.setattr(view, "REPORT_TEMPLATE", folder / view.REPORT_TEMPLATE.name)
    plan = build_plan(["demo"])
    before = view.view_id(plan)
    (folder / file).write_text((folder / file).read_text() + " ")
    assert view.view_id(plan) != before


def test_two_studies_whose_files_would_have_one_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = made_up_report.write_runs(["demo", PAPER])
    monkeypatch.setattr(report_module, "paper_files", lambda content: {"tables/demo_error.csv": ""})
    with pytest.raises(UserError, match=r"results/tables/demo_error\.csv would be the file of two studies"):
        report_module.report_files(plan, "")
