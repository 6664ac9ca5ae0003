"""The command line: thin commands that read names into configurations and call one function each.

Heavy modules are imported inside the commands, so that `--help` and `list` answer at once.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from robo_orl import __version__
from robo_orl.base.errors import INTERRUPTED, Interrupted, RunError, UsageError, unknown
from robo_orl.cli import data as data_cli
from robo_orl.cli import results as results_cli
from robo_orl.cli.options import (
    AcceptMismatch,
    AfterSuccess,
    ClipActions,
    EvalSets,
    Json,
    Loop,
    ReferenceSets,
    Rewards,
    Seed,
    Sets,
    Workers,
    check_loop,
    check_starts,
    reading_values,
    show,
    showing,
)
from robo_orl.cli.profile import profile

HELP = """When does a critic pay? Behaviour cloning against offline RL on one backbone, one data set, one budget.

Start with `robo-orl doctor`, then `robo-orl bench --suite quick`. Presets are YAML files in policies/ and tasks/;
`robo-orl list` names them, `--policy qc+separate` joins a variant, `--set policy.optim.lr=3e-4` changes one
value, and `--presets DIR` adds a folder of your own of the same shape."""

app = typer.Typer(help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(data_cli.app, name="data")
app.add_typer(results_cli.app, name="results")

# What the parser raises for a wrong command line: an option that is unknown, missing or of another kind. typer carries
# its own copy of click or takes the installed one, by version; this is the class of either.
PARSER_ERROR = typer.BadParameter.__mro__[1]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"robo-orl {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    presets: Annotated[
        Path | None, typer.Option(help="A folder of your own with policies/, tasks/ or launch/.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that come before the command."""
    from robo_orl.config.presets import PRESETS_VARIABLE

    if presets is not None:
        if not presets.is_dir():
            raise UsageError(f"--presets: {presets} is no folder.")
        os.environ[PRESETS_VARIABLE] = str(presets.resolve())


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what works on this machine, and how to mend what does not."""
    from robo_orl.cli.doctor import examine, print_findings

    findings = examine()
    show({"findings": [f.model_dump() for f in findings]}, as_json, lambda _: print_findings(findings))
    if any(f.status == "fail" for f in findings):
        raise typer.Exit(1)


@app.command("list")
def list_presets(
    kind: Annotated[
        str, typer.Argument(help="policies, variants, tasks, suites, sizes, objectives or references (default: all).")
    ] = "",
    as_json: Json = False,
) -> None:
    """List what can be named: policies and tasks, variants to join to them (qc+separate), suites, sizes and methods."""
    from robo_orl.cli.catalogue import KINDS, catalogue
    from robo_orl.cli.tables import listing

    if kind and kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    found = {k: catalogue(k) for k in ([kind] if kind else KINDS)}
    show(found, as_json, listing)


@app.command()
def train(
    policy: Annotated[str, typer.Option(help="A policy, e.g. qc or qc+separate, or the path of a file.")],
    task: Annotated[str, typer.Option(help="A task, e.g. chain2 or chain2+40hz, or the path of a file.")],
    data: Annotated[Path, typer.Option(help="robomimic HDF5 file of that task.")],
    out: Annotated[Path, typer.Option(help="The run's folder; an unfinished run of the same settings is resumed.")],
    seed: Seed = 0,
    settings: Sets = [],  # noqa: B006 (typer copies it)
    mask: Annotated[
        str | None, typer.Option("--filter", help="Train on the episodes of this mask only, e.g. success.")
    ] = None,
    tracker: Annotated[str, typer.Option(help="tensorboard, wandb, trackio or none.")] = "tensorboard",
    more: Annotated[
        list[str], typer.Option("--also", metavar="TASK=FILE[@WEIGHT]", help="One more task to learn. Repeatable.")
    ] = [],  # noqa: B006
    clip_actions: ClipActions = False,
    after_success: AfterSuccess = "cut",
    rewards: Rewards = "auto",
    accept_mismatch: AcceptMismatch = False,
    as_json: Json = False,
) -> None:
    """Train one policy. Under `accelerate launch -m robo_orl train ...` the same command runs on many processes."""
    from robo_orl.api import train_policy

    reading = reading_values(clip_actions, after_success, rewards, accept_mismatch)
    values = {"seed": seed, "filter": mask, "tracker": tracker, "reading": reading}
    if more:
        values["more"] = [_also(item) | {"reading": reading} for item in more]
    summary = train_policy(policy, task, data, out, settings, progress=showing(as_json), **values)
    if int(os.environ.get("RANK", 0)) == 0:
        show(summary, as_json)


def _also(item: str) -> dict[str, Any]:
    """TASK=FILE[@WEIGHT] as the values of a TaskData; an existing file of the whole name has no weight in it."""
    from robo_orl.config.presets import preset_values

    name, equals, file = item.partition("=")
    weight = ""
    if "@" in file and not Path(file).exists():
        file, _, weight = file.rpartition("@")
    if not (name and equals and file):
        raise UsageError(f"--also takes TASK=FILE or TASK=FILE@WEIGHT, got '{item}'.")
    return {"task": preset_values("tasks", name), "data": file, "weight": weight or 1.0}


@app.command()
def reference(
    algo: Annotated[str, typer.Option(help="bc_rnn_gmm, bc_transformer, iql, cql, bcq, td3_bc, hbc, iris, or a path.")],
    task: Annotated[str, typer.Option(help="Name of a file in tasks/, or a path.")],
    data: Annotated[Path, typer.Option(help="robomimic HDF5 file of that task; all but bc_* need next_obs in it.")],
    out: Annotated[Path, typer.Option(help="The run's folder; an unfinished run of the same settings is resumed.")],
    seed: Seed = 0,
    settings: ReferenceSets = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Train an algorithm of robomimic, with its own classes and defaults, as a reference; `eval` takes its folder."""
    from robo_orl.config.presets import load_task
    from robo_orl.robomimic.algorithms import load_reference

    wanted = load_reference(algo, settings), load_task(task)
    from robo_orl.robomimic.train import train_reference

    show(train_reference(*wanted, data, out, seed, progress=showing(as_json)), as_json)


@app.command("eval")
def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a trained run or reference, or a checkpoint of robomimic.")],
    episodes: Annotated[int, typer.Option(min=1, help="Episodes; 500 or more for a leaderboard.")] = 200,
    workers: Workers = None,
    seed: Seed = 0,
    loop: Loop = "exact",
    video: Annotated[
        Path | None, typer.Option(help="Also write a few episodes as mp4 with the stage overlaid.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder to write (default: RUN/eval).")] = None,
    settings: EvalSets = [],  # noqa: B006
    task: Annotated[
        str, typer.Option(help="Of a robomimic checkpoint or a run on several tasks: the one (default: the first).")
    ] = "",
    paraphrases: Annotated[bool, typer.Option(help="Tell the policy held-out paraphrases of the instruction.")] = False,
    starts: Annotated[
        str, typer.Option(help="Start states: test, or tuning for those that hyper-parameters are chosen on.")
    ] = "test",
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Load a robomimic checkpoint even if it executes code.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Roll out the last checkpoint from the task's stored start states; success with k, n and interval."""
    from robo_orl.cli.tables import key_values
    from robo_orl.evaluate.scores import in_words
    from robo_orl.robomimic.run_folder import is_reference

    common: dict[str, Any] = {"workers": workers, "seed": seed, "loop": check_loop(loop), "video": video, "out": out}
    common |= {"progress": showing(as_json)}
    check_starts(starts)
    if is_reference(run):
        if paraphrases:
            raise UsageError("--paraphrases is for policies that read an instruction; a reference reads none.")
        if starts != "test":
            raise UsageError("--starts tuning is for our policies; a reference has its library's settings.")
        result = _evaluate_reference(run, episodes, settings, task, trust_pickle, common)
    else:
        from robo_orl.evaluate.success import evaluate as evaluate_run

        if trust_pickle:
            raise UsageError("--trust-pickle is for checkpoints of robomimic; ours hold nothing but numbers.")
        told = {"task": task or None, "paraphrases": paraphrases, "starts": starts}
        result = evaluate_run(run, episodes, overrides=settings, **told, **common)
    show(result, as_json, lambda scores: key_values(in_words(scores)))


def _evaluate_reference(
    run: Path, episodes: int, settings: list[str], task: str, trust_pickle: bool, common: dict[str, Any]
) -> dict[str, Any]:
    from robo_orl.config.presets import load_task
    from robo_orl.robomimic.evaluation import evaluate_reference

    if settings:
        raise UsageError("--set changes how a policy of ours selects among its samples; a reference acts as it does.")
    return evaluate_reference(run, episodes, load_task(task) if task else None, trust_pickle=trust_pickle, **common)


@app.command()
def bench(
    suite: Annotated[str, typer.Option(help="Name of a file in tasks/suites/, or a path.")] = "quick",
    out: Annotated[Path | None, typer.Option(help="Results folder (default: runs/SUITE).")] = None,
    blocks: Annotated[
        int | None,
        typer.Option(min=1, help="Only the first so many groups of the suite, each a whole comparison (default: all)."),
    ] = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Run a whole suite: data, training, evaluation, cost. Resumable; what is done is never done again."""
    from robo_orl.sweep.bench import bench as run_bench

    folder = out or Path("runs") / Path(suite).stem
    summary = run_bench(suite, folder, workers=workers, progress=showing(as_json), blocks=blocks)
    summary["report"] = _write_report(folder, folder, as_json)
    if as_json:
        print(json.dumps(summary))
    if summary.get("failed"):
        raise RunError(f"{len(summary['failed'])} cell(s) failed; run the same command again to retry them.")


@app.command()
def tune(
    suite: Annotated[str, typer.Option(help="The suite that will use the result: its policies, data and training.")],
    policies: Annotated[
        str | None,
        typer.Option(help="Comma-separated names of the suite's policies (default: those of its first group)."),
    ] = None,
    task: Annotated[str | None, typer.Option(help="One of the suite's tasks (default: its first).")] = None,
    regime: Annotated[str | None, typer.Option(help="One of the suite's regimes (default: its first).")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials of each policy; the first one is its file as it is.")] = 8,
    episodes: Annotated[int, typer.Option(min=1, max=100, help="Episodes that a trial is judged by.")] = 50,
    out: Annotated[Path | None, typer.Option(help="Results folder (default: runs/tune-SUITE).")] = None,
    workers: Workers = None,
    seed: Seed = 0,
    settings: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Laid on every policy, e.g. optim.steps=1000.")
    ] = [],  # noqa: B006
    spaces: Annotated[bool, typer.Option("--spaces", help="Print what would be searched, and search nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Choose hyper-parameters: every policy has the same number of trials, on start states that no result is from.

    Resumable. Writes OUT/tuned.yaml; a suite that names it under `tuned:` uses the chosen values and its report says
    how many trials they are from. A trial is trained and judged as a cell of the suite, and kept.
    """
    from robo_orl.cli.tables import search_spaces, tuned_values
    from robo_orl.sweep.tune import Plan, spaces_of
    from robo_orl.sweep.tune import tune as run_tune

    plan = Plan.of(suite, policies, task, regime, trials, episodes, seed, settings)
    if spaces:
        show(spaces_of(plan), as_json, search_spaces)
        return
    folder = out or Path("runs") / f"tune-{Path(suite).stem}"
    show(run_tune(plan, folder, workers=workers, progress=showing(as_json)), as_json, tuned_values)


app.command()(profile)


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="A working folder of `robo-orl bench`, or packed results.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Where to write report.html (default: the working folder, or runs/report-NAME if packed)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Turn results into report.html, report.json and a table; every score is computed again from its rows."""
    from robo_orl.report.build import default_out
    from robo_orl.results.verify import verify

    summary = _write_report(results, out or default_out(results), as_json)
    summary["faults"] = verify(results).faults if summary["cells"] or summary["costs"] else {}
    if as_json:
        print(json.dumps(summary))
    for cell, sentences in summary["faults"].items():
        print(f"robo-orl: {cell}: {' '.join(sentences)}", file=sys.stderr)
    if summary["faults"]:
        raise RunError(f"{len(summary['faults'])} record(s) contradict their rows; do not trust this report.")


def _write_report(results: Path, out: Path, as_json: bool) -> dict[str, Any]:
    from robo_orl.report.build import build
    from robo_orl.report.terminal import table

    summary = build(results, out)
    if not as_json:
        from rich.console import Console

        Console().print(table(json.loads(Path(summary["json"]).read_text(encoding="utf-8"))))
        print(f"Report: {summary['html']}")
    return summary


def main() -> None:
    """Run the command line; faults become one sentence on stderr, exit 2 for usage and 1 for failure.

    SIGTERM, by which schedulers announce the end of a job, is Ctrl-C: work stops where it can go on, with exit 130
    whenever it comes.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = app(prog_name="robo-orl", standalone_mode=False)
        if code == INTERRUPTED:  # what typer makes of Ctrl-C
            raise Interrupted("Interrupted. The same command continues where it stopped.")
        sys.exit(code)
    except PARSER_ERROR as error:
        _end(_in_a_sentence(error), 2)
    except UsageError as error:
        _end(str(error), 2)
    except Interrupted as end:
        _end(str(end), INTERRUPTED)
    except RunError as error:
        _end(str(error), 1)
    except (FileExistsError, NotADirectoryError) as error:
        asked = Path(error.filename)
        file = next((path for path in (asked, *asked.parents) if path.is_file()), asked)
        _end(f"{file} is a file where a folder is needed; choose another --out.", 2)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _end(
            f"The disk is full ({error.filename or 'while writing'}). Free some space and run the same command again.",
            1,
        )


def _in_a_sentence(error: Exception) -> str:
    """What the parser says, and which command's help says more."""
    if type(error).__name__ == "NoArgsIsHelpError":  # it has printed the help
        sys.exit(2)
    said = " ".join(error.format_message().split())
    stop = "" if said.endswith((".", "?", "!")) else "."
    return f"{said}{stop} `{error.ctx.command_path if error.ctx else 'robo-orl'} --help` lists what there is."


def _end(sentence: str, code: int) -> None:
    if code == 2 and int(os.environ.get("RANK", 0)) > 0:
        sys.exit(code)  # every process of a launch sees the same bad request; one says so
    if "--json" in sys.argv:
        print(json.dumps({"error": sentence}))
    print(f"robo-orl: {sentence}", file=sys.stderr)
    sys.exit(code)
