import pytest
import tiny  # noqa: E402


@pytest.fixture(autouse=True)
def quiet_environment(tmp_path, monkeypatch):
    """No test reads or fills the user's cache, or inherits a launcher's environment."""
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path / "cache"))
    for variable in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_CPU"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def data(tmp_path):
    """A small data file."""
    return tiny.write_data(tmp_path / "toy.hdf5")
