"""The page in a real browser: wide and narrow, light and dark, with and without JavaScript."""

import json

import pytest

from robo_orl.report.build import build
from robo_orl.report.picture import browser_path, photograph

pytestmark = pytest.mark.skipif(browser_path() is None, reason="no Chromium here (Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
def report(quick_results, tmp_path_factory):
    out = tmp_path_factory.mktemp("page")
    build(quick_results, out)
    return out


@pytest.fixture
def open_page(browser, report):
    contexts = []

    def opened(width: int, theme: str = "light", javascript: bool = True):
        context = browser.new_context(
            viewport={"width": width, "height": 844}, color_scheme=theme, java_script_enabled=javascript
        )
        contexts.append(context)
        page = context.new_page()
        page.faults, page.requests = [], []
        page.on("console", lambda message: page.faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto((report / "report.html").as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_loads_without_errors_requests_or_overflow(open_page, width, theme):
    page = open_page(width, theme)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.faults == []
    assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour.strip("rgba()").split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_keeps_a_contrast_of_at_least_four_and_a_half(open_page, theme):
    page = open_page(1280, theme)
    paper = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert (paper < 0.1) == (theme == "dark")
    inks = {
        s: page.eval_on_selector(s, "e => getComputedStyle(e).color") for s in ("p.lead", ".note", ".answer", ".ci")
    }
    drawn = page.eval_on_selector_all("figure svg text", "all => all.map(e => getComputedStyle(e).fill)")
    assert len(set(drawn)) >= 3, "ticks, and names of policies with a critic and without"
    for where, ink in (inks | {f"a figure's {colour}": colour for colour in set(drawn)}).items():
        contrast = (max(luminance(ink), paper) + 0.05) / (min(luminance(ink), paper) + 0.05)
        assert contrast >= 4.5, f"{where} in {theme}: {contrast:.1f}"


def test_names_in_figures_are_whole_and_inside_their_figures(open_page, report):
    page = open_page(390)
    names = {row["policy"] for board in json.loads((report / "report.json").read_text())["boards"]
             for row in board["rows"]}  # fmt: skip
    texts = page.eval_on_selector_all("#difference svg text", "all => all.map(e => e.textContent)")
    assert set(texts) >= names - {"bc"}  # the control is what they are compared with
    outside = """[...document.querySelectorAll('figure svg text')].filter(text => {
      const [own, all] = [text.getBoundingClientRect(), text.closest('svg').getBoundingClientRect()];
      return own.width && (own.left < all.left - 1 || own.right > all.right + 1);
    }).map(text => text.textContent)"""
    assert page.evaluate(outside) == []


def test_the_numbers_of_the_board_are_visible(open_page, report):
    text = open_page(1280).inner_text("#board")
    for board in json.loads((report / "report.json").read_text())["boards"]:
        for row in board["rows"]:
            assert f"{row['success']['k']}/{row['success']['n']}" in text and row["policy"] in text


def test_a_click_sorts_and_a_second_click_turns_the_order_round(open_page):
    page = open_page(1280)
    column = "#board table.sortable >> nth=0"
    page.click(f"{column} >> thead th:nth-child(8) button")  # training time
    names = [name.split()[0] for name in page.locator(f"{column} >> tbody th").all_inner_texts()]
    assert names[0] == "qc_separate"
    page.click(f"{column} >> thead th:nth-child(8) button")
    names = [name.split()[0] for name in page.locator(f"{column} >> tbody th").all_inner_texts()]
    assert names[-1] == "qc_separate"
    assert page.get_attribute(f"{column} >> thead th:nth-child(8)", "aria-sort") == "ascending"


def test_the_switch_turns_the_page_dark(open_page):
    page = open_page(390, "light")
    page.click("#theme")
    assert luminance(page.evaluate("getComputedStyle(document.body).backgroundColor")) < 0.1


def test_paper_is_white_whatever_the_screen_shows(open_page):
    page = open_page(760, "dark")
    page.emulate_media(media="print")
    assert luminance(page.evaluate("getComputedStyle(document.body).backgroundColor")) == 1.0


def test_without_javascript_everything_but_sorting_and_the_switch_is_there(open_page):
    page = open_page(1280, javascript=False)
    assert page.locator("table tbody tr").count() > 20 and page.locator("figure svg").count() > 5
    assert not page.locator("#theme").is_visible()


def test_axe_finds_no_fault_of_accessibility(open_page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(open_page(820, "dark")).response["violations"]
    assert [(fault["id"], fault["nodes"][0]["target"], fault["nodes"][0]["failureSummary"]) for fault in found] == []


def test_every_drawing_says_in_words_what_it_shows(open_page):
    page = open_page(1280)
    mute = "[...document.querySelectorAll('svg')].filter(s => !s.ariaLabel && s.ariaHidden !== 'true').length"
    assert page.evaluate(mute) == 0
    assert page.locator("th:not([scope])").count() == 0


def test_a_picture_for_the_documentation_is_small(browser, report, tmp_path):
    photograph(browser, report / "report.html", tmp_path / "report.png")
    assert 20_000 < (tmp_path / "report.png").stat().st_size < 300_000
