"""The snippets of README, CONTRIBUTING and docs: how they are found, checked against the real command line, and run.

A fenced block of bash, python, yaml or toml is a snippet. Those of a page share one folder and run in their order, so
that one can use what another made. A block behind the comment `<!-- parse: REASON -->` is not run, and neither are
programs other than `robo-orl` and the commands of LONG; they are checked. What takes long is made small by options
that users have: fewer episodes, fewer steps.
"""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import typer
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- parse: (.+?) -->\s*$")
INLINE = re.compile(r"`((?:robo-orl|python benchmarks/|make) ?[^`]*)`")
PLACEHOLDER = re.compile(r"\b[A-Z]{2,}[A-Z_]*\b(?!=)|\.\.\.|…")
LONG = ("bench", "tune", "doctor")  # hours; doctor fails where the machine lacks something
SMALL_TRAINING = ("--set", "policy.optim.steps=2", "--set", "policy.optim.batch_size=8")


@dataclass(frozen=True)
class Block:
    """A fenced block. parse_only: why it is not run, empty where it is."""

    page: Path
    line: int
    language: str
    text: str
    parse_only: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in their order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        mark = MARK.search(text[: match.start()].rstrip("\n"))
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page, line, match[1], _included(match[2]), mark[1] if mark else ""))
    return found


def _included(text: str) -> str:
    """The text with the files that it takes in by `{{file("NAME")}}`."""
    return re.sub(r'^\{\{ ?file\("(.+?)"\) ?\}\}$', lambda m: (DOCS / m[1]).read_text(), text, flags=re.MULTILINE)


def inline_commands(page: Path) -> list[str]:
    """Commands between backticks in the text of a page."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [" ".join(m[1].split()) for m in INLINE.finditer(text)]


def commands(text: str) -> list[list[str]]:
    """The commands of a bash block: comments gone, continued lines joined."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


# ------------------------------------------------------------------------------------------------------------- checking


def check(words: list[str], names: bool = True) -> None:
    """AssertionError where a command has an unknown option or argument, or names something that does not exist.

    names: False for commands with placeholders, whose names are not looked up.
    """
    program, *rest = [word for i, word in enumerate(words) if not _sets_variable(words[: i + 1])]
    if program not in CHECKS:
        raise AssertionError(f"'{program}' is a command that tests/docs/snippets.py cannot check; add it to CHECKS.")
    CHECKS[program](rest, names)


def _check_ours(words: list[str], names: bool) -> None:
    path, params = parsed(words)
    if names:
        presets = words[words.index("--presets") + 1] if "--presets" in words else None
        with _presets(presets):
            NAMES.get(path, lambda params: None)(params)


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """(command, its parameters) as the real parser reads them; nothing is executed."""
    command, path = _root(), []
    context = command.make_context("robo-orl", list(words))
    while hasattr(command, "commands"):
        rest = [*getattr(context, "_protected_args", ()), *context.args]
        name, command, rest = command.resolve_command(context, rest)
        assert command is not None, f"there is no command {words}"
        path.append(name)
        context = command.make_context(name, rest, parent=context)
    return " ".join(path), dict(context.params)


@cache
def _root() -> Any:
    from robo_orl.cli.app import app

    return typer.main.get_command(app)


class _presets:
    """The folder that --presets adds, while names are looked up."""

    def __init__(self, folder: str | None):
        self.folder = folder

    def __enter__(self) -> None:
        if self.folder is not None:
            os.environ["ROBO_ORL_PRESETS"] = str(Path(self.folder).resolve())

    def __exit__(self, *_: object) -> None:
        if self.folder is not None:
            del os.environ["ROBO_ORL_PRESETS"]


def _train_names(params: dict[str, Any]) -> None:
    from robo_orl.agent.agent import check_agent
    from robo_orl.api import resolve_run

    run = resolve_run(params["policy"], params["task"], params["data"], list(params["settings"]))
    check_agent(run.policy)


def _reference_names(params: dict[str, Any]) -> None:
    from robo_orl.config.presets import load_task
    from robo_orl.robomimic.algorithms import load_reference

    load_task(params["task"])
    load_reference(params["algo"], list(params["settings"]))


def _suite_names(params: dict[str, Any]) -> None:
    from robo_orl.config.presets import preset_values

    preset_values("tasks/suites", params["suite"])


def _profile_names(params: dict[str, Any]) -> None:
    from robo_orl.config.presets import load_policy

    load_policy(params["policy"])


def _task_names(params: dict[str, Any]) -> None:
    from robo_orl.config.presets import load_task

    load_task(params["task"])


NAMES: dict[str, Callable[[dict[str, Any]], None]] = {
    "train": _train_names,
    "reference": _reference_names,
    "bench": _suite_names,
    "tune": _suite_names,
    "profile": _profile_names,
    "data generate": _task_names,
}


def _check_accelerate(words: list[str], names: bool) -> None:
    from accelerate.commands.launch import launch_command_parser

    assert words[0] == "launch"
    options = launch_command_parser().parse_args(words[1:])
    assert options.module and options.training_script == "robo_orl"
    assert options.config_file is None or (ROOT / options.config_file).exists(), options.config_file
    _check_ours(options.training_script_args, names)


def _check_make(words: list[str], names: bool) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in words:
        assert "=" in target or target in targets, f"the Makefile has no target '{target}'"


def _check_python(words: list[str], names: bool) -> None:
    if words[:2] == ["-m", "robo_orl"]:
        return _check_ours(words[2:], names)
    if words[:2] == ["-m", "pytest"]:
        files = [word for word in words[2:] if word.endswith(".py")]
        assert files, "a page names the test files that it runs"
        for file in files:
            assert (ROOT / file).is_file(), f"{file} does not exist"
        return None
    script = ROOT / words[0]
    assert script.is_file(), f"{words[0]} does not exist"
    known = script.read_text() + "".join(path.read_text() for path in script.parent.glob("*.py"))
    for word in words[1:]:
        assert not word.startswith("--") or f'"{word.partition("=")[0]}"' in known, f"{words[0]} has no option {word}"
    return None


def _check_pip(words: list[str], names: bool) -> None:
    pinned = (ROOT / "constraints.txt").read_text().lower().replace("_", "-")
    packages = [w for w, before in zip(words[1:], words, strict=False) if not w.startswith("-") and before[:2] != "--"]
    for package in packages:
        assert "/" in package or f"\n{package}==" in pinned, f"constraints.txt pins no {package}"


def _sets_variable(words: list[str]) -> bool:
    """Whether the last of these words sets a variable for the command after it."""
    return all(re.fullmatch(r"[A-Z_]+=\S*", word) for word in words)


def _check_sbatch(words: list[str], names: bool) -> None:
    """The script, and what it passes on: the scripts of training give their arguments to `robo-orl train`."""
    place = next(index for index, word in enumerate(words) if word.endswith(".sh"))
    script, passed = ROOT / words[place], words[place + 1 :]
    assert script.is_file(), f"{words[place]} does not exist"
    if passed:
        assert "robo_orl train" in script.read_text(), f"{words[place]} passes nothing on to a training"
        _check_ours(["train", *passed], names)


CHECKS: dict[str, Callable[[list[str], bool], None]] = {
    "robo-orl": _check_ours,
    "accelerate": _check_accelerate,
    "make": _check_make,
    "python": _check_python,
    "pip": _check_pip,
    "sbatch": _check_sbatch,
    "ray": lambda words, names: None,  # tests/sweep/test_ray.py runs the page's commands
    "source": lambda words, names: None,
}


# -------------------------------------------------------------------------------------------------------------- running


def small(words: list[str]) -> list[str]:
    """The arguments of `robo-orl` with fewer episodes and steps, by options that users have."""
    path, _ = parsed(words)
    words = list(words)
    if path in ("data generate", "eval") and "--episodes" in words:
        at = words.index("--episodes") + 1
        words[at] = str(min(int(words[at]), 4 if path == "data generate" else 2))
    if path == "train":
        words += SMALL_TRAINING
    if path == "online":
        words[words.index("--steps") + 1] = "100"
        words += ["--workers", "1", "--set", "policy.online.evaluation.episodes=2"]
    if path == "profile" and "--size" in words and not words[words.index("--size") + 1].startswith("smol"):
        words[words.index("--size") + 1] = "s"
    if path == "reference":
        words += ["--set", "train.num_epochs=1", "--set", "experiment.epoch_every_n_steps=2"]
    return words


def small_python(text: str) -> str:
    """The same for the keywords of the Python interface."""
    text = re.sub(r"\bepisodes=\d+", "episodes=2", text)
    return re.sub(r'\["policy\.optim\.steps=\d+"\]', str(list(SMALL_TRAINING[1::2])), text)


def run_block(block: Block, namespace: dict[str, Any]) -> None:
    """Run a snippet in the current folder. namespace: the names that the page's Python blocks share."""
    if block.language == "bash":
        for program, *words in commands(block.text):
            if program == "robo-orl" and (parsed(words)[0] not in LONG or {"--spaces", "--plan"} & {*words}):
                with _presets_kept():
                    _root().main(args=small(words), prog_name="robo-orl", standalone_mode=False)
    elif block.language == "python":
        exec(compile(small_python(block.text), str(block), "exec"), namespace)  # noqa: S102
    else:
        write_file(block)


class _presets_kept:
    """--presets sets a variable of the process, which a command line of its own would not leave behind."""

    def __enter__(self) -> None:
        self.before = os.environ.get("ROBO_ORL_PRESETS")

    def __exit__(self, *_: object) -> None:
        os.environ.pop("ROBO_ORL_PRESETS", None)
        if self.before is not None:
            os.environ["ROBO_ORL_PRESETS"] = self.before


def write_file(block: Block) -> Path | None:
    """Read a YAML or TOML block, and write it to the file that its first line names, if it names one."""
    if block.language == "toml":
        tomllib.loads(block.text)
    if block.language != "yaml":
        return None
    yaml.safe_load(block.text)
    name = re.match(r"# (\S+\.yaml)\n", block.text)
    if name is None:
        return None
    path = Path(name[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text)
    return path


def made_by(page: Path) -> set[str]:
    """The files and folders that the snippets of a page write themselves."""
    text = "\n".join(block.text for block in blocks(page) if not block.parse_only)
    return set(re.findall(r'(?:--out|out=)[ "]*([\w./]+)', text)) | set(re.findall(r'hdf5", "(runs/\w+)"', text))


def needed_by(page: Path, given: Sequence[str]) -> Iterator[str]:
    """Of the given files those that a page names and does not make."""
    text, made = "\n".join(block.text for block in blocks(page)), made_by(page)
    return (name for name in given if re.search(rf"\b{re.escape(name)}\b(?!_)", text) and name not in made)
