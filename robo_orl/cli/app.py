"""The command `robo-orl`: its commands assembled, and every error turned into one sentence and an exit code.

Heavy modules are imported inside the commands, so that `--help` and `list` answer at once. Output outlives its reader
and never fails on a character: `train 2>&1 | head -1` goes on training.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, NoReturn, TextIO

import typer

from robo_orl import __version__
from robo_orl.base.errors import INTERRUPTED, Interrupted, RunError, UsageError
from robo_orl.base.machine import wait_passively
from robo_orl.base.os_errors import READ_REMEDY, sentence_of
from robo_orl.base.text import notice, print_line
from robo_orl.cli import data, leaderboard, results, task
from robo_orl.cli.bench import bench
from robo_orl.cli.compare import HELP as COMPARE_HELP
from robo_orl.cli.compare import compare
from robo_orl.cli.doctor import doctor
from robo_orl.cli.evaluate import evaluate
from robo_orl.cli.online import HELP as ONLINE_HELP
from robo_orl.cli.online import online
from robo_orl.cli.presets import list_presets
from robo_orl.cli.profile import profile
from robo_orl.cli.report import report
from robo_orl.cli.train import reference, train
from robo_orl.cli.tune import tune
from robo_orl.engine.launch import process_rank

LAUNCHED = ("train", "online")  # the commands that a launcher starts several times
HELP = """When does a critic pay? Behaviour cloning against offline RL on one backbone, one data set, one budget.

Start with `robo-orl doctor`, then `robo-orl bench --suite quick`. Presets are YAML files in policies/ and tasks/;
`robo-orl list` names them, `--policy qc+separate` joins a variant, `--set policy.optim.lr=3e-4` changes one
value, and `--presets DIR` adds a folder of your own of the same shape."""

app = typer.Typer(help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command()(doctor)
app.command("list")(list_presets)
app.add_typer(data.app, name="data")
app.add_typer(results.app, name="results")
app.add_typer(task.app, name="task")
app.command()(train)
app.command()(reference)
app.command("eval")(evaluate)
app.command(help=ONLINE_HELP)(online)
app.command(help=COMPARE_HELP)(compare)
app.command()(bench)
app.command()(tune)
app.command()(profile)
app.command()(report)
app.add_typer(leaderboard.app, name="leaderboard")


def _print_version(requested: bool) -> None:
    if requested:
        print_line(f"robo-orl {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    presets: Annotated[
        Path | None, typer.Option(help="A folder of your own with policies/, tasks/ or launch/.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that come before the command."""
    from robo_orl.config.presets import PRESETS_VARIABLE

    if presets is not None:
        if not presets.is_dir():
            raise UsageError(f"--presets: {presets} is no folder.")
        os.environ[PRESETS_VARIABLE] = str(presets.resolve())


def main() -> None:
    """Run the command line; an error becomes one sentence on stderr, with exit code 2 for usage and 1 for failure.

    SIGTERM, by which schedulers announce the end of a job, is treated as Ctrl-C: work stops where it can continue, with
    exit code 130.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    protect_streams()
    wait_passively()  # before a command imports torch
    try:
        code = app(prog_name="robo-orl", standalone_mode=False)
        if code == INTERRUPTED:  # typer turns Ctrl-C into this code
            raise Interrupted("Interrupted. The same command continues where it stopped.")
        sys.exit(code)
    except Exception as error:
        _end(error)


def _end(error: Exception) -> NoReturn:
    """End with the error's sentence; an error that is a fault of the program itself is raised again."""
    click = parser_errors()
    if isinstance(error, getattr(click, "NoArgsIsHelpError", ())):  # it has printed the help
        sys.exit(2)
    if isinstance(error, click.ClickException):
        _exit_with(_parser_sentence(error), 2)
    known = error if isinstance(error, (UsageError, RunError)) else sentence_of(error)
    if known is None:
        raise error
    _exit_with(str(known), _exit_code(known))


def _exit_code(error: UsageError | RunError) -> int:
    if isinstance(error, UsageError):
        return 2
    return INTERRUPTED if isinstance(error, Interrupted) else 1


def parser_errors(raised: type[Exception] = typer.BadParameter) -> ModuleType:
    """The exceptions of the click that typer uses: its own copy or the installed one, by typer's version."""
    return import_module(raised.__module__)


def _parser_sentence(error: Exception) -> str:
    """The parser's message, and the command whose help lists the options."""
    message = " ".join(error.format_message().split())
    if message.endswith(" is not readable."):
        return f"{message[:-1]}; {READ_REMEDY}."
    stop = "" if message.endswith((".", "?", "!")) else "."
    context = getattr(error, "ctx", None)
    return f"{message}{stop} `{context.command_path if context else 'robo-orl'} --help` lists what there is."


def _exit_with(sentence: str, code: int) -> NoReturn:
    launched = any(command in sys.argv for command in LAUNCHED)
    if code == 2 and launched and process_rank() > 0:
        sys.exit(code)  # every process of a launch gets the same bad request; the first one says so
    if "--json" in sys.argv:
        print(json.dumps({"error": sentence}))
    notice(sentence)
    sys.exit(code)


# ----------------------------------------------------------------------------------- streams that outlive their readers


GONE = (errno.EPIPE, errno.EIO, errno.ECONNRESET)  # the reader closed a pipe, a terminal or a connection


class PatientStream:
    """A text stream that, once nobody reads it, writes to nowhere instead of raising."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text, or drop it where the reader is gone."""
        try:
            self._stream.write(text)
        except OSError as error:
            self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Flush, or drop what is left where the reader is gone."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        if error.errno not in GONE:
            raise error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def protect_streams() -> None:
    """Make stdout and stderr outlive their readers, and print `?` for a character that their encoding lacks."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or isinstance(stream, PatientStream):
            continue
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
        setattr(sys, name, PatientStream(stream))
