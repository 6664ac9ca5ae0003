"""The leaderboard in a real browser: from a folder, without a server, with filters, figures and deep links."""

import csv

import pytest

from robo_orl.report.leaderboard.site import gather, render
from robo_orl.report.picture import browser_path

pytestmark = pytest.mark.skipif(browser_path() is None, reason="no Chromium here (Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
def site(make_results, results_plan, tmp_path_factory):
    """Two tasks, two sizes, six policies."""
    out = tmp_path_factory.mktemp("site")
    folder = make_results(out / "results", results_plan(sizes=("tiny", "xs"), episodes=30))
    for name, content in render(gather([folder])).items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return out


@pytest.fixture
def open_page(browser, site):
    contexts = []

    def opened(name: str = "index.html", width: int = 1280, theme: str = "light", javascript: bool = True):
        context = browser.new_context(
            viewport={"width": width, "height": 844}, color_scheme=theme, java_script_enabled=javascript
        )
        contexts.append(context)
        page = context.new_page()
        page.faults, page.requests = [], []
        page.on("console", lambda m: page.faults.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("request", lambda request: page.requests.append(request.url))
        file, mark, rest = name.partition("?" if "?" in name else "#")
        page.goto((site / file).as_uri() + mark + rest)
        return page

    yield opened
    for context in contexts:
        context.close()


def shown(page, table: int = 0) -> list[tuple[str, str]]:
    """(place, policy) of the visible rows of a task's ranking."""
    rows = page.locator("#tasks table.ranked").nth(table).locator("tbody tr:visible")
    return [(row.locator("td").first.locator("b").inner_text(), row.locator("th a").inner_text()) for row in rows.all()]


def see_all_figures(page):
    for figure in page.locator("figure.plot").all():
        figure.scroll_into_view_if_needed()
    page.wait_for_function(
        "[...document.querySelectorAll('figure.plot')].every(f => f.dataset.drawn || f.matches('.empty'))"
    )


@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), (820, "light"), (1280, "dark")])
def test_the_front_page_loads_without_errors_requests_or_overflow(open_page, width, theme):
    page = open_page(width=width, theme=theme)
    see_all_figures(page)
    assert page.faults == []
    assert [url for url in page.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", ["policy-qc_shared.html", "task-synthetic2.html"])
def test_the_other_pages_load_without_errors_requests_or_overflow(open_page, name):
    page = open_page(name, width=390)
    page.wait_for_timeout(300)
    assert page.faults == [] and not [url for url in page.requests if not url.startswith(("file:", "data:"))]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_another_endpoint_changes_places_and_order_and_stands_in_the_address(open_page):
    page = open_page()
    by_return = shown(page)
    page.select_option("[name=by]", "within_60")
    by_deadline = shown(page)
    assert [int(place) for place, _ in by_deadline] == sorted(int(place) for place, _ in by_deadline)
    assert by_return != by_deadline and {p for _, p in by_return} == {p for _, p in by_deadline}
    assert "by=within_60" in page.url
    assert shown(open_page("index.html?" + page.url.partition("?")[2])) == by_deadline


def test_filters_hide_rows_keep_places_and_stand_in_the_address(open_page):
    page = open_page()
    before = {policy: place for place, policy in shown(page)}
    page.select_option("[name=topology]", "separate")
    page.select_option("[name=size]", "xs")
    after = shown(page)
    assert [policy for _, policy in after] == ["qc_separate"] and after[0][0] in before.values()
    assert page.locator(".count").inner_text().startswith("2 of 24 rows")
    again = open_page("index.html?" + page.url.partition("?")[2])
    assert again.locator(".count").inner_text() == page.locator(".count").inner_text()
    again.click("button[type=reset]")
    again.wait_for_function("document.querySelector('.count').textContent.startsWith('24 of 24')")
    assert "?" not in again.url


def test_a_part_of_a_name_finds_its_policies_in_tables_and_figures(open_page):
    page = open_page()
    see_all_figures(page)
    page.fill("[name=policy]", "QC_")
    page.wait_for_function("document.querySelector('#figure-memory').dataset.drawn === '8'")
    assert {policy for _, policy in shown(page)} == {"qc_shared", "qc_separate"}


def test_a_link_to_a_ranking_opens_there(open_page):
    page = open_page("index.html#ranking-1")
    page.wait_for_function("document.getElementById('ranking-1').getBoundingClientRect().top < 700")
    assert page.evaluate("document.getElementById('ranking-1').getBoundingClientRect().top") >= 0


def test_a_figure_shows_its_values_on_hover(open_page):
    page = open_page()
    see_all_figures(page)
    page.evaluate("document.querySelector('#figure-memory').scrollIntoView({block: 'center'})")
    page.locator("#figure-memory .mark-symbol path").last.hover()
    page.wait_for_selector("#vg-tooltip-element.visible")
    text = page.inner_text("#vg-tooltip-element")
    assert " of 30" in text and "success" in text and "one training" in text


def test_the_filters_and_tables_work_from_the_keyboard(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.focus("[name=regime]")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "size"
    page.focus("#overall .scroll")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "region"


@pytest.mark.parametrize(("name", "theme"), [("index.html", "dark"), ("index.html", "light"),
                         ("policy-qc_shared.html", "light"), ("task-synthetic2.html", "dark")])  # fmt: skip
def test_axe_finds_no_fault_of_accessibility(open_page, name, theme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = open_page(name, theme=theme)
    if name == "index.html":
        page.fill("[name=policy]", "bc")  # fewer rows of the same kinds: the checks take their time for each
        see_all_figures(page)
    found = axe.Axe().run(page).response["violations"]
    assert [(fault["id"], fault["nodes"][0]["target"], fault["nodes"][0]["failureSummary"]) for fault in found] == []


def test_without_javascript_every_table_is_there(open_page):
    page = open_page(javascript=False)
    assert page.locator("table.ranked tbody tr").count() == 36 and not page.locator("#filters").is_visible()
    assert "The figures need JavaScript" in page.inner_text("#figures")


def test_a_figure_hands_out_the_numbers_that_it_shows(open_page):
    page = open_page()
    see_all_figures(page)
    page.fill("[name=policy]", "qc_")
    page.wait_for_function("document.querySelector('#figure-memory').dataset.drawn === '8'")
    with page.expect_download() as saved:
        page.click("#figure-memory a[download]")
    rows = list(csv.DictReader(saved.value.path().read_text().splitlines()))
    assert saved.value.suggested_filename == "memory.csv" and len(rows) == 8
    assert {row["policy"] for row in rows} == {"qc_shared", "qc_separate"} and all(row["n"] == "30" for row in rows)
    other = open_page("policy-qc_shared.html")
    other.wait_for_selector("figure.plot[data-drawn]")
    with other.expect_download() as saved:
        other.click("#curves a[download]")
    rows = list(csv.DictReader(saved.value.path().read_text().splitlines()))
    assert {row["policy"] for row in rows} == {"bc", "qc_shared"} and len(rows) == 4 * 2 * 21


def test_a_browser_that_cannot_unpack_the_library_says_so_and_keeps_the_tables(browser, site):
    page = browser.new_page()
    page.add_init_script("delete globalThis.DecompressionStream")
    page.goto((site / "policy-qc_shared.html").as_uri())
    page.wait_for_selector("figure.plot.empty")
    assert "the numbers are in the CSV files" in page.inner_text("#curves") and page.locator("tbody tr").count() > 5
    page.close()
