"""The report as people open it: in Chromium, wide and narrow, light and dark, on paper, by keyboard and without scripts."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from gendistill.results.paper_report import FILES
from gendistill.results.wide import Cell, WideTable
from tests import made_up_report

pytestmark = pytest.mark.documents
PAPER = "tolerant_teachers_table1"
# The contrast of WCAG 2 between an element's text and what is behind it, for the elements that hold text themselves.
CONTRAST = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const part = (v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const ground = (element) => {
    for (let own = element; own; own = own.parentElement) {
      const colour = rgb(getComputedStyle(own).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
  };
  const holds = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  const shown = [...document.querySelectorAll("body *")].filter((e) => holds(e) && !e.closest("script, style"));
  return shown.map((element) => {
    const svg = element.closest("svg");
    const style = getComputedStyle(element);
    const own = svg ? (style.fill === "none" ? style.color : style.fill) : style.color;
    const [a, b] = [light(rgb(own)), light(ground(element))];
    return [`${element.tagName}.${element.getAttribute("class")}`, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  });
}"""
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


def wide_section(content):
    """A published table of a shape that is wider than a telephone."""
    rows = [n for n, row in enumerate(content["rows"]) if row["ours"] is not None][:8]
    cells = [Cell("18.3", f"{content['rows'][n]['ours']:.2f} ± 0.10", "+0.20", "3", (1,), n == 0, "", n) for n in rows]
    content["rows"][-1] |= {"ours": None, "runs": []}
    other = [Cell("17", "not run", "–", "–", (2,), False, "no data", len(content["rows"]) - 1), *cells[:6][::-1], None]
    columns = [f"a column, number {n}" for n in range(8)]
    table = WideTable(["network"], columns, [("densenet",), ("wrn",)], ["a remark", "no data"])
    table = WideTable(table.labels, columns, [(["densenet"], cells), (["wrn"], other)], table.notes)
    files = {what: f"tables/{content['table']}{end}" for what, end in FILES.items()}
    own = {"name": content["table"], "description": "A table", "caption": "Ours below what is published.", "files": files}
    return {**own, "warning": "", "choices": [], "wide": table}


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """The folder with the report of the demo and of a published table in the paper's shape."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("gendistill.results.paper_cells.paper_section", wide_section)
        made_up_report.write_report(made_up_report.write_runs(["demo", PAPER], ("seeds=[0,1,2]",)))
    return folder / "results"


@pytest.fixture
def open_page(chromium, results):
    """Opens the report; what it asks for and complains of is in `requests` and `complaints` of the page."""
    contexts = []

    def opened(width=1280, fragment="", **options):
        contexts.append(chromium.new_context(viewport={"width": width, "height": 800}, **options))
        page = contexts[-1].new_page()
        page.requests, page.complaints = [], []
        page.on("request", lambda request: page.requests.append(request.url))
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto((results / "report.html").as_uri() + fragment)
        return page

    yield opened
    for context in contexts:
        context.close()


def column(page, table: str, number: int) -> list[str]:
    return page.locator(f"table[aria-labelledby='{table}'] tbody tr > :nth-child({number})").all_inner_texts()


def test_nothing_is_asked_for_but_the_file(open_page, results):
    page = open_page()
    page.wait_for_load_state("networkidle")
    assert page.requests == [(results / "report.html").as_uri()]
    assert page.complaints == []


def test_every_link_resolves(open_page):
    page = open_page()
    links = page.eval_on_selector_all("a", "all => all.map(a => a.href)")
    here = page.url
    inside = {link.partition("#")[2] for link in links if link.startswith(f"{here}#")}
    files = {link.removeprefix("file://") for link in links if not link.startswith(f"{here}#")}
    assert len(inside) > 50 and len(files) > 50
    assert page.evaluate("ids => ids.filter(id => !document.getElementById(id))", sorted(inside)) == []
    assert [file for file in files if not Path(file).is_file()] == []


def test_tables_sort_by_click_as_numbers(open_page):
    page = open_page()
    first = column(page, "demo-error", 3)
    button = page.locator("table[aria-labelledby='demo-error'] th button").nth(2)
    head = page.locator("table[aria-labelledby='demo-error'] thead th").nth(2)
    assert head.get_attribute("aria-sort") is None
    button.click()
    assert head.get_attribute("aria-sort") == "ascending"
    rising = column(page, "demo-error", 3)
    assert [float(text.split()[0]) for text in rising] == sorted(float(text.split()[0]) for text in first)
    assert rising != first
    button.click()
    assert head.get_attribute("aria-sort") == "descending"
    assert [float(t.split()[0]) for t in column(page, "demo-error", 3)] == sorted(
        (float(t.split()[0]) for t in first), reverse=True
    )


def test_numbers_sort_as_numbers_not_as_text(open_page):
    page = open_page()
    number = 1 + page.locator("table[aria-labelledby='demo-error'] thead th").all_inner_texts().index("n")
    assert column(page, "demo-error", number) == ["3"] * 7 + ["12"]
    # As text, or as text with whole numbers in it, these would come in another order.
    values = ["4.5", "-1", "10", "4.25", "", "1e-3", "-20", "9"]
    page.eval_on_selector_all(
        "table[aria-labelledby='demo-error'] tbody tr > :last-child",
        "(cells, values) => cells.forEach((cell, n) => { cell.dataset.sort = cell.textContent = values[n]; })",
        values,
    )
    button = page.locator(f"table[aria-labelledby='demo-error'] thead th:nth-child({number}) button")
    button.click()
    rising = sorted((value for value in values if value), key=float)
    assert column(page, "demo-error", number) == [*rising, ""]
    button.click()
    assert column(page, "demo-error", number) == [*rising[::-1], ""]


def test_cells_without_a_value_stay_last(open_page):
    page = open_page()
    heads = page.locator(f"table[aria-labelledby='{PAPER}-table'] thead button")
    for _ in range(2):
        heads.nth(1).click()
        assert column(page, f"{PAPER}-table", 2)[-1].endswith("not run [2]")


def test_tables_sort_by_keyboard(open_page):
    page = open_page()
    button = page.locator("table[aria-labelledby='cost'] th button").nth(1)
    button.focus()
    for key, order in (("Enter", "ascending"), ("Space", "descending")):
        page.keyboard.press(key)
        assert page.locator("table[aria-labelledby='cost'] th").nth(1).get_attribute("aria-sort") == order
    # Where one is can be seen.
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    steps = [int(text) for text in column(page, "cost", 2)]
    assert steps == sorted(steps, reverse=True)
    assert int(page.locator("table[aria-labelledby='cost'] tfoot td").first.inner_text()) == sum(steps)


def test_the_keyboard_reaches_the_results_first(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    skip = page.locator("a.skip")
    assert skip.evaluate("e => e === document.activeElement") and skip.bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_a_value_opens_its_runs(open_page):
    page = open_page()
    assert not page.locator("#demo-error-2").is_visible()
    page.locator("a[href='#demo-error-2']").first.click()
    assert page.locator("#demo-error-2").is_visible()
    assert "gendistill provenance demo_error:ban/1" in page.locator("#demo-error-2").inner_text()
    assert page.locator("#demo-error-2").evaluate("e => e.getBoundingClientRect().top < innerHeight")
    # So does a link from outside, and, in a published table, a value in the paper's shape.
    assert open_page(fragment="#demo-ensembles-3").locator("#demo-ensembles-3").is_visible()
    cell = page.locator(f"table[aria-labelledby='{PAPER}-table'] tbody td a").first
    cell.click()
    assert page.locator(cell.get_attribute("href")).is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_telephone_scrolls_down_only(open_page, scheme):
    page = open_page(360, color_scheme=scheme)
    assert page.evaluate(OVERFLOW) == 0
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate(OVERFLOW) == 0
    # The wide table scrolls in its own box, which the keyboard reaches.
    box = page.locator(".scroll", has=page.locator(f"table[aria-labelledby='{PAPER}-table']"))
    assert box.evaluate("e => e.scrollWidth > e.clientWidth && e.tabIndex === 0")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(open_page, scheme):
    page = open_page(color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    found = page.evaluate(CONTRAST)
    kinds = {name for name, _ in found}
    assert {"P.soft", "STRONG.verdict reproduced", "SPAN.verdict contradicted", "TH.null", "text.null", "SMALL.null"} <= kinds
    assert [(name, ratio) for name, ratio in found if ratio < 4.5] == []
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) < 3 * 60) == (scheme == "dark")
    assert page.evaluate("getComputedStyle(document.querySelector('.drawing')).backgroundColor") == "rgb(255, 255, 255)"


def test_every_picture_has_a_name(open_page):
    page = open_page()
    names = page.eval_on_selector_all("svg, img", "all => all.map(e => e.getAttribute('aria-label') || e.alt)")
    assert len(names) == 3 and all(names)
    assert page.eval_on_selector_all("svg", "all => all.every(e => e.getAttribute('role') === 'img')")
    boxes = page.eval_on_selector_all("svg", "all => all.map(e => e.getBoundingClientRect().width)")
    assert min(boxes) > 200


def test_paper_shows_all_but_the_runs(open_page, tmp_path):
    page = open_page(color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    for name in ("main section > h2", "main h3", ".claims > li", "figure", "table.sortable", ".on-paper"):
        assert all(element.is_visible() for element in page.locator(name).all())
    # Without a script, too, values by seed are shown; of the runs it says where they are.
    values = page.locator(".claims details table").first
    assert values.evaluate("e => e.getBoundingClientRect().height") > 40 and values.is_visible()
    assert not page.locator("details.runs").first.is_visible()
    assert "results/tables/demo_error_runs.csv" in page.locator(".on-paper").first.inner_text()
    # A sheet of A4 is 210 mm less twice 15 mm wide: 680 pixels.
    page.set_viewport_size({"width": 680, "height": 900})
    assert page.evaluate(OVERFLOW) <= 0
    page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    assert (tmp_path / "report.pdf").stat().st_size > 10_000


def test_without_scripts_the_page_is_whole(open_page):
    page = open_page(java_script_enabled=False)
    assert page.complaints == []
    assert page.locator("table.sortable").count() == page.locator("table.sortable tbody").count() == 6
    assert page.locator("th button").count() == 0
    runs = page.locator("details.runs").first
    assert not runs.locator("table").is_visible()
    runs.locator("summary").click()
    assert runs.locator("table").is_visible()
    assert column(page, "demo-error", 1)[0] == "ban"


def test_the_tables_roles_are_told(open_page):
    page = open_page()
    for table in page.locator("table.sortable").all():
        for name in ("aria-labelledby", "aria-describedby"):
            assert page.locator(f"#{table.get_attribute(name)}").count() == 1
    assert page.locator("html").get_attribute("lang") == "en"
    levels = page.eval_on_selector_all("h1, h2, h3, h4", "all => all.map(e => Number(e.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
