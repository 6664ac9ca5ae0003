"""robo-orl as tests call it."""

from typer.testing import CliRunner

from robo_orl.cli.app import app


def run(*words):
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 0, result.output or result.exception
    return result.output
