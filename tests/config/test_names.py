"""A name in a configuration becomes part of paths and of lines in a terminal: one rule holds for all of them."""

import os
import subprocess
import sys

import pytest

from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyConfig, SuiteConfig, TaskConfig, parse
from robo_orl.config.presets import available, load_policy, load_task, preset_values
from robo_orl.config.strict import LONGEST_NAME

BAD = ["../../X", "/tmp/x", "bc/min", "a b", "lift\x1b[2J", "new\nline", "", ".hidden", "-option", "näme", "a\x00b"]
TASK = {"env": "chain", "stages": ["one"], "max_seconds": 10}
GROUP = {"tasks": ["chain1"], "regimes": ["mg"]}


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_is_no_part_of_a_path_is_refused_with_the_remedy(name):
    rows = {"groups": [GROUP | {"policies": [{"use": "bc", "name": name}]}]}
    for schema, values in ((PolicyConfig, {}), (TaskConfig, TASK), (SuiteConfig, rows | {"name": "ok"})):
        with pytest.raises(UsageError, match="name: .* names files and folders: set name to letters, digits") as error:
            parse(schema, {"name": name} | values, "config")
        assert len(str(error.value).splitlines()) == 1 and "\x1b" not in str(error.value)


def test_a_name_too_long_for_a_file_system_is_refused_by_its_place():
    rows = [{"use": "bc", "name": "x" * 260}]
    with pytest.raises(UsageError, match=r"suite s: groups.0.policies.0.name: a name has 80 characters at most, .*260"):
        parse(SuiteConfig, {"name": "s", "groups": [GROUP | {"policies": rows}]}, "suite s")
    assert parse(TaskConfig, TASK | {"name": "x" * LONGEST_NAME}, "task").name == "x" * LONGEST_NAME


@pytest.mark.parametrize("kind", ["policies", "tasks", "tasks/suites"])
def test_every_shipped_name_is_plain(kind):
    schema = {"policies": PolicyConfig, "tasks": TaskConfig, "tasks/suites": SuiteConfig}[kind]
    assert [parse(schema, preset_values(kind, name), name).name for name in available(kind)] == list(available(kind))
    assert load_policy("qc+separate+hl_gauss").name and load_task("chain2+40hz").name


def test_a_task_of_a_file_with_a_strange_name_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "odd task.yaml").write_text("extends: lift\n")
    (tmp_path / "out.yaml").write_text("extends: lift\nname: ../../X\n")
    for file in ("odd task.yaml", "out.yaml"):
        words = ["data", "generate", "--task", file, "--regime", "ph", "--episodes", "1", "--out", "new.hdf5"]
        command = [sys.executable, "-m", "robo_orl", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ)
        assert done.returncode == 2 and "names files and folders: set name to" in " ".join(done.stderr.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["odd task.yaml", "out.yaml"]
