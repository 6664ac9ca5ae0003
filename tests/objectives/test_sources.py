"""An objective is one short file that names its paper and where in it the equations are."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from robo_orl import objectives
from robo_orl.objectives import OURS

LINES = 150
FILES = {name: Path(inspect.getsourcefile(objective)) for name, objective in OURS.items()}
PAPER = re.compile(r"\b(19|20)\d\d\b")
PLACE = re.compile(r"\b(equations?|sections?|algorithms?|appendix)\s+[\dIVXA-Z]")


@pytest.mark.parametrize("file", sorted(set(FILES.values())), ids=lambda file: file.stem)
def test_an_objectives_file_is_short_and_names_its_paper_and_the_place_in_it(file):
    text = file.read_text()
    said = ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= LINES
    assert PAPER.search(said), "no paper: its year is missing"
    assert PLACE.search(said), "no place in the paper: an equation, a section or an algorithm is missing"


def test_every_objective_has_a_file_of_its_own_among_the_objectives():
    folder = Path(objectives.__file__).parent
    assert len(set(FILES.values())) == len(FILES)
    assert {file.parent for file in FILES.values()} == {folder}


def test_every_class_that_an_objective_s_file_defines_says_what_it_is():
    for name, file in FILES.items():
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef):
                assert ast.get_docstring(node), f"{name}: {node.name}"
