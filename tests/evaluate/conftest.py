"""A trained run on the scripted scene, trained once a file."""

import shutil

import pytest
import toy_run


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("trained")
        patch.setenv("ROBO_ORL_CACHE", str(folder / "cache"))
        return toy_run.trained(folder)


@pytest.fixture
def run(trained_run, tmp_path):
    """A run folder of this test's own."""
    return shutil.copytree(trained_run, tmp_path / "run")
