"""More episodes of both sides until a sequential test decides, or its budget ends.

OUT/compare.json                  the sides, and the endpoint and alpha that were fixed before the first episode
OUT/A/further-0/finished.jsonl    the episodes of the first side on the first bank of further start states

The start states are those of the banks `further-0`, `further-1`, ..., which nothing else uses. The episodes that
suggested the comparison are no part of the test: a test that begins with what made somebody look is no test.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from robo_orl.base.errors import UsageError
from robo_orl.base.files import read_json, write_json
from robo_orl.base.locks import folder_lock
from robo_orl.base.machine import cores
from robo_orl.base.text import as_label
from robo_orl.compare.sides import Side
from robo_orl.engine.run_folder import read_run
from robo_orl.envs.start_banks import FURTHER, FURTHER_STATES
from robo_orl.evaluate.scores import FinishedRows, row_of
from robo_orl.evaluate.success import Prepared, check_observations, prepare
from robo_orl.results.anytime import SequentialSignTest
from robo_orl.results.endpoints import Endpoint, endpoints_of
from robo_orl.results.intervals import TIE
from robo_orl.results.record import EpisodeRow
from robo_orl.rollout.episodes import Rollouts

BATCH = 10  # pairs between two looks at the test while simulators stand ready; the test itself looks at every pair
STATE = "compare.json"


@dataclass(frozen=True)
class Request:
    """The settings of a sequential comparison, fixed before its first episode."""

    endpoint: str = "success"
    alpha: float = 0.05
    max_episodes: int = 200
    workers: int | None = None


@dataclass(frozen=True)
class Decision:
    """The outcome of a sequential comparison. interval: of the difference, at all times together.

    decided: better or worse (the second side), or undecided where the budget ended.
    """

    first: str
    second: str
    endpoint: str
    alpha: float
    pairs: int
    wins: int
    losses: int
    ties: int
    difference: float
    low: float
    high: float
    evidence: float
    decided: str
    starts: str
    out: str

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


Watch = Callable[[SequentialSignTest], None]


def until_decided(first: Side, second: Side, request: Request, out: Path, progress: bool = True) -> Decision:
    """Play pairs of episodes of two sides until the test decides or `max_episodes` of each are played.

    Resumable: episodes in `out` are read, and the test is the same as if it had never stopped. Raises UsageError where
    a side has no checkpoint here or several trainings, where the endpoint is unknown, or where `out` belongs to another
    comparison.
    """
    endpoint = _endpoint(request.endpoint)
    runs = [_run_of(side) for side in (first, second)]
    most = FURTHER_STATES * len(FURTHER)
    if not 1 <= request.max_episodes <= most:
        raise UsageError(f"--max-episodes is 1 to {most}, the further start states of a task.")
    task = first.task
    test = SequentialSignTest(request.alpha)
    with folder_lock(out, "comparing"), _progress(request, progress) as watch:
        for number, bank in enumerate(FURTHER):
            count = min(FURTHER_STATES, request.max_episodes - number * FURTHER_STATES)
            if test.decided or count < 1:
                break
            sides = [
                prepare(run, number, first.loop, _selection(side), task, starts=bank)
                for run, side in zip(runs, (first, second), strict=True)
            ]
            _check_state(out, request, sides)
            for one, other in _played(sides, bank, count, out, request.workers):
                test.add(_sign(endpoint, one, other, first.horizon))
                watch(test)
                if test.decided:
                    break
    low, high = test.interval()
    side = "better" if test.difference > 0 else "worse"
    return Decision(
        first=first.name, second=second.name, endpoint=endpoint.name, alpha=request.alpha, pairs=test.pairs,
        wins=test.wins, losses=test.losses, ties=test.ties, difference=test.difference, low=low, high=high,
        evidence=test.evidence, decided=side if test.decided else "undecided",
        starts=f"further start states of {task}, from the first on", out=str(out),
    )  # fmt: skip


def default_out(first: Side, second: Side) -> Path:
    """The folder of a comparison of two sides."""
    return Path("runs") / f"compare-{first.name}-{second.name}"


def _endpoint(name: str) -> Endpoint:
    known = {endpoint.name: endpoint for endpoint in [*endpoints_of(None), Endpoint("stages")]}
    if name not in known:
        raise UsageError(f"Unknown endpoint '{name}': give one of {', '.join(known)}.")
    return known[name]


def _run_of(side: Side) -> Path:
    if len(side.trainings) > 1:
        raise UsageError(
            f"{side.name} has {len(side.trainings)} trainings: name one of them, with its -sSEED, to play on."
        )
    run = side.trainings[0].run
    if run is None:
        raise UsageError(
            f"{side.name} is a record without its weights, and can play no more episodes: give the folder of its run."
        )
    read_run(run)
    return run


def _selection(side: Side) -> list[str]:
    """The selection that the side was judged with, which need not be that of its run, as overrides."""
    chosen = side.trainings[0].settings["policy"]["selection"]
    return [f"selection.{key}={json.dumps(value)}" for key, value in chosen.items()]


def _check_state(out: Path, request: Request, sides: list[Prepared]) -> None:
    """UsageError where `out` was begun with other sides, another endpoint or another alpha."""
    state = {
        "endpoint": request.endpoint,
        "alpha": request.alpha,
        "first": [sides[0].plan.policy.digest(), sides[0].plan.checkpoint_sha256],
        "second": [sides[1].plan.policy.digest(), sides[1].plan.checkpoint_sha256],
    }
    path = out / STATE
    if not path.exists():
        write_json(path, state)
        return
    before = read_json(path)
    for key, value in state.items():
        if before.get(key) != value:
            was = f" ({before.get(key)})" if key in ("endpoint", "alpha") else ""
            raise UsageError(
                f"{out} was begun with another {key}{was}, which is fixed before the first episode: choose another "
                "--out."
            )


def _sign(endpoint: Endpoint, first: EpisodeRow, second: EpisodeRow, horizon: int) -> int:
    one, other = endpoint.values([first, second], horizon)
    return int(other - one > TIE) - int(one - other > TIE)


def _played(
    sides: list[Prepared], bank: str, count: int, out: Path, workers: int | None
) -> Iterator[tuple[EpisodeRow, EpisodeRow]]:
    """The pairs of one bank in the order of their start states; simulators start where an episode is missing."""
    with ExitStack() as stack:
        players = [
            stack.enter_context(_player(side, out / name / bank, workers))
            for side, name in zip(sides, "AB", strict=True)
        ]
        for begin in range(0, count, BATCH):
            batch = range(begin, min(begin + BATCH, count))
            for player in players:
                player(batch)
            yield from ((players[0].rows[i], players[1].rows[i]) for i in batch)


@dataclass
class Player:
    """One side on one bank. Called with start states, it plays those that its file does not hold."""

    side: Prepared
    rollouts: Rollouts
    rows: FinishedRows

    def __call__(self, episodes: range) -> None:
        missing = [i for i in episodes if i not in self.rows]
        for finished in self.rollouts.run(missing) if missing else ():
            self.rows.add(row_of(finished, self.side.plan, self.rollouts.info()))


@contextmanager
def _player(side: Prepared, out: Path, workers: int | None) -> Iterator[Player]:
    own = workers or max(1, cores() // 2)
    out.mkdir(parents=True, exist_ok=True)
    with Rollouts(side.env_spec, side.policy, own, gamma=side.plan.gamma) as rollouts:
        info = rollouts.info()
        check_observations(side.observations, info, side.plan.task.name)
        yield Player(side, rollouts, FinishedRows(out / "finished.jsonl", side.plan.digest(info)))


@contextmanager
def _progress(request: Request, shown: bool) -> Iterator[Watch]:
    """A bar on stderr: pairs, who is ahead, and the evidence."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not shown, transient=True) as bar:
        line = bar.add_task(as_label(f"comparing by {request.endpoint}"), total=request.max_episodes)

        def watch(test: SequentialSignTest) -> None:
            words = f"{test.wins} won, {test.losses} lost, evidence {test.evidence:.2g} of {1 / request.alpha:.0f}"
            bar.update(line, completed=test.pairs, description=as_label(words))

        yield watch
