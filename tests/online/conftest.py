"""A run of flow cloning on the scripted scene, trained once a file, that goes online."""

import pytest
import toy_online  # noqa: F401 (it puts the folders of other helpers on the path)
import toy_run


@pytest.fixture(scope="module")
def cloned(tmp_path_factory):
    """A trained run; its checkpoints come every 4 updates, online too."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cloned")
        patch.setenv("ROBO_ORL_CACHE", str(folder / "cache"))
        yield toy_run.trained(folder, checkpoint_every=4)


@pytest.fixture(autouse=True)
def quiet_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path / "cache"))
