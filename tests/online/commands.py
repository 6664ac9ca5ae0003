"""robo-orl as tests call it."""

from typer.testing import CliRunner

from robo_orl.cli.app import app


def run(*words):
    """What a command that ends well prints on stdout; notices are on stderr."""
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 0, result.output or result.exception
    return result.stdout
