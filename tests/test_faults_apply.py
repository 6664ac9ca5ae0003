"""The deliberate faults of benchmarks/mutations.py apply to the package as it is, and name tests that exist."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))
from faults import FAULTS  # noqa: E402


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_replaces_text_that_stands_exactly_once_and_names_its_tests(name):
    for file, text, _ in FAULTS[name].edits:
        assert (ROOT / "robo_orl" / file).read_text().count(text) == 1, f"'{text}' in {file}"
    for test in FAULTS[name].tests:
        assert (ROOT / test.split("::")[0]).exists(), test
