"""Every snippet of README, CONTRIBUTING and docs is checked against the real command line, and runs."""

import os
import shutil
from pathlib import Path

import h5py
import pytest
import snippets

import robo_orl

ROOT = snippets.ROOT
FAST = {"README.md"}
GIVEN = ("runs/lift.hdf5", "theirs.hdf5", "runs/bc", "runs/iql")
WITH_BLOCKS = [page for page in snippets.PAGES if snippets.blocks(page)]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", snippets.PAGES, ids=name)
def test_every_command_exists_with_its_options_and_names(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in snippets.blocks(page):
        assert block.language in ("bash", "python", "yaml", "toml", "text"), f"{block}: say the language of the block"
        snippets.write_file(block)
    for block in snippets.blocks(page):
        if block.language == "bash":
            for words in snippets.commands(block.text):
                try:
                    snippets.check(words)
                except Exception as error:
                    raise AssertionError(f"{block}: {' '.join(words)}: {error}") from error
        if block.language == "python":
            compile(block.text, str(block), "exec")


@pytest.mark.parametrize("page", snippets.PAGES, ids=name)
def test_commands_in_the_text_exist(page):
    for command in snippets.inline_commands(page):
        words = command.split()
        whole = not snippets.PLACEHOLDER.search(command)
        if len(words) > 1 and words[0] in snippets.CHECKS and whole:
            try:
                snippets.check(words)
            except Exception as error:
                incomplete = type(error).__name__ in ("MissingParameter", "NoArgsIsHelpError")
                assert incomplete, f"{name(page)}: `{command}`: {error}"


# -------------------------------------------------------------------------------------------------------------- running


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A function of a name: data of lift, a file of somebody else's, a trained policy; made when a page needs it."""
    pytest.importorskip("robosuite", reason="robosuite is not installed")
    folder = tmp_path_factory.mktemp("given")

    def make(item):
        path, data = folder / item, folder / "runs" / "lift.hdf5"
        if path.exists():
            return path
        if item == "runs/lift.hdf5":
            robo_orl.generate_data("lift", "mg", 4, data, progress=False)
        elif item == "theirs.hdf5":
            shutil.copy(make("runs/lift.hdf5"), path)
            make_foreign(path)
        else:
            settings = list(snippets.SMALL_TRAINING[1::2])
            robo_orl.train_policy(path.name, "lift", make("runs/lift.hdf5"), path, settings, progress=False)
        return path

    return make


def make_foreign(path: Path) -> None:
    """Leave in a file what robomimic's own scripts write: no attribute of ours."""
    with h5py.File(path, "r+") as file:
        for group in (file, file["data"], *file["data"].values()):
            for attribute in set(group.attrs) - {"total", "env_args", "num_samples", "model_file"}:
                del group.attrs[attribute]
        for episode in file["data"].values():
            for item in set(episode) - {"actions", "rewards", "dones", "states", "obs", "next_obs"}:
                del episode[item]


@pytest.fixture
def page_folder(tmp_path, monkeypatch, given):
    """A folder to run a page's snippets in; returns a function that fills it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "results").symlink_to(ROOT / "results")

    def fill(page):
        for item in snippets.needed_by(page, GIVEN):
            (tmp_path / item).parent.mkdir(exist_ok=True)
            copy = shutil.copytree if given(item).is_dir() else os.link
            copy(given(item), tmp_path / item)

    return fill


@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=() if name(p) in FAST else pytest.mark.slow) for p in WITH_BLOCKS], ids=name
)
def test_the_snippets_of_a_page_run(page, page_folder, capsys):
    page_folder(page)
    namespace = {"__name__": "snippets"}
    for block in snippets.blocks(page):
        if block.parse_only:
            continue
        try:
            snippets.run_block(block, namespace)
        except BaseException as error:
            raise AssertionError(f"{block}: {error}") from error
