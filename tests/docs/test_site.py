"""The site builds without a warning and sends no request elsewhere; README holds the findings of the records."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GENERATOR = ROOT / "docs" / "generator"
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
NAMED = re.compile(r"`((?:robo_orl|tests|benchmarks|policies|tasks|launch|docs)/[a-z0-9_/.+-]*)`")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_the_site_builds_strictly_and_has_every_section(site):
    for page in ("index", "concepts/glossary", "howto/python", "results/methods", "reference/command-line",
                 "reference/configuration", "reference/interface", "reference/api/objectives",
                 "leaderboard/index", "leaderboard/policy-bc"):  # fmt: skip
        assert (site / f"{page}.html").is_file(), page


def test_no_page_leaves_a_template_or_an_empty_table(site):
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert "{{" not in text and "{%" not in text, page
        assert "<tbody>\n</tbody>" not in text, page


def test_a_number_at_the_beginning_of_a_line_which_markdown_takes_for_a_list_ends_the_build():
    page = "SimpleNamespace(file=SimpleNamespace(src_uri='results/a.md'))"
    call = f"hooks.on_page_markdown('- has\\n  {{{{ 3 }}}}. More', {page})"
    code = f"from types import SimpleNamespace\nimport hooks\n{call}"
    path = os.pathsep.join((str(GENERATOR), str(ROOT)))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    assert done.returncode and "results/a.md: a number begins the line '3. More'" in done.stderr


def test_opening_a_page_sends_no_request_to_another_machine(site):
    loaded = re.compile(r'<(?:script|img|link|iframe|source)\b[^>]*?(?:src|href)="(https?:)?//')
    for page in site.rglob("*.html"):
        found = loaded.search(page.read_text())
        assert found is None, f"{page}: {found[0]}"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//", sheet.read_text()), sheet


def test_results_are_those_of_the_records(site):
    text = re.sub("<[^>]+>", " ", (site / "results" / "quick.html").read_text())
    assert "43 [74, 93]" in text and "49 [90, 100]" in text


# ----------------------------------------------------------------------------------------------- README, CONTRIBUTING


def test_the_findings_of_readme_are_those_of_the_records():
    command = [sys.executable, "-c", "import findings; print(findings.findings())"]
    path = os.pathsep.join((str(GENERATOR), str(ROOT)))
    made = subprocess.check_output(command, text=True, env=os.environ | {"PYTHONPATH": path})
    assert made.strip() in (ROOT / "README.md").read_text(), f"put this into README.md:\n{made}"


def test_readme_is_a_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 110


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_to_files(name):
    text = (ROOT / name).read_text()
    for target in (match[1] or match[2] for match in LINK.finditer(text)):
        if not target.startswith("http"):
            assert (ROOT / target.partition("#")[0]).exists(), f"{name} links to {target}"


@pytest.mark.parametrize(
    "page", [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=str
)
def test_files_named_in_the_text_exist(page):
    for path in NAMED.findall(page.read_text()):
        assert (ROOT / path).exists(), f"{page.name} names {path}"


def test_the_pictures_are_what_their_script_draws(tmp_path):
    drawn = {path.stem: path.read_text() for path in (ROOT / "docs" / "pictures").glob("*.svg")}
    script = (ROOT / "docs" / "pictures" / "draw.py").read_text()
    namespace = {"__name__": "draw"}
    exec(compile(script, "draw.py", "exec"), namespace)  # noqa: S102
    for stem, draw in namespace["PICTURES"].items():
        assert drawn[stem] == draw(), f"run python docs/pictures/draw.py: {stem}.svg is older"
