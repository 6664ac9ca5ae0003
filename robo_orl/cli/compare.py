"""The command `robo-orl compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robo_orl.base.errors import UsageError
from robo_orl.base.text import print_line
from robo_orl.cli.options import Json, Workers, check_finite, shows_progress

if TYPE_CHECKING:
    from robo_orl.compare.further import Decision
    from robo_orl.compare.side_by_side import SideBySide

HELP = """Compare B with A: what differs in their settings, and whether it mattered, on the start states of both.

A and B are folders of runs that were evaluated, folders of records (RESULTS/cells/CELL), or rows of results as
RESULTS:TASK-REGIME-POLICY-SIZE, with -sSEED for one training. With --until-decided both play further start states,
which no result is of, until a test that may be looked at after every pair decides, or --max-episodes are played."""


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="What B is compared with.")],
    second: Annotated[str, typer.Argument(metavar="B", help="As A.")],
    until_decided: Annotated[
        bool, typer.Option("--until-decided", help="Play further start states until a sequential test decides.")
    ] = False,
    endpoint: Annotated[
        str, typer.Option(help="What decides, fixed beforehand: success, return, stages, within_40, within_60 ...")
    ] = "success",
    alpha: Annotated[
        float, typer.Option(callback=check_finite, help="The most that the test errs where both are equal.")
    ] = 0.05,
    max_episodes: Annotated[int, typer.Option(help="Episodes of each after which it ends undecided.")] = 200,
    out: Annotated[
        Path | None, typer.Option(help="Where further episodes are kept (default: runs/compare-A-B).")
    ] = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Compare two policies side by side."""
    from robo_orl.compare.further import Request, default_out
    from robo_orl.compare.further import until_decided as play
    from robo_orl.compare.side_by_side import side_by_side
    from robo_orl.compare.sides import read_side

    if not 0 < alpha < 1:
        raise UsageError(f"--alpha lies between 0 and 1, got {alpha:g}.")
    one, other = read_side(first), read_side(second)
    compared, decision = side_by_side(one, other), None
    if not as_json:
        _show(compared)
    if until_decided:
        request = Request(endpoint, alpha, max_episodes, workers)
        decision = play(one, other, request, out or default_out(one, other), shows_progress(as_json))
    if as_json:
        print(json.dumps(compared.to_json() | {"further": decision.to_json() if decision else None}))
    elif decision is not None:
        _show_decision(decision)


def _show(compared: SideBySide) -> None:
    from robo_orl.cli.tables import listing

    rows = [{"name": c.key, "A": _shown(c.first), "B": _shown(c.second)} for c in compared.changed]
    print_line(f"A is {compared.first}, B is {compared.second}; {compared.task}, {compared.horizon} decisions.")
    if rows:
        listing({"settings that differ": rows})
    else:
        print_line("No setting differs.")
    listing({f"B against A, {compared.n} pairs of {_trainings(compared.trainings)}": [
        {
            "name": effect.endpoint, "A": f"{effect.first:.3f}", "B": f"{effect.second:.3f}", "won": d.wins,
            "lost": d.losses, "diff": f"{d.difference:+.2f}", "low": f"{d.low:+.2f}", "high": f"{d.high:+.2f}",
            "p": f"{effect.p_holm:.1g}", "B is": effect.verdict,
        }
        for effect in compared.effects for d in [effect.difference]
    ]})  # fmt: skip
    print_line("diff is (won - lost) / n with its 95 % interval; p is the sign test's, by Holm over these rows.")
    if compared.trainings == 1:
        print_line("One training of each: the intervals cover other start states, and no other training.")


def _show_decision(decision: Decision) -> None:
    ends = f"{100 * (1 - decision.alpha):g} % at all times [{decision.low:+.3f}, {decision.high:+.3f}]"
    print_line(
        f"By {decision.endpoint} on {decision.pairs} further pairs: B is {decision.decided}; it won {decision.wins}, "
        f"lost {decision.losses}, {decision.ties} equal, difference {decision.difference:+.3f}, {ends}, "
        f"evidence {decision.evidence:.3g} of {1 / decision.alpha:.0f}."
    )
    print_line(f"Episodes: {decision.out}")


def _trainings(count: int) -> str:
    return "one training each" if count == 1 else f"{count} trainings each"


def _shown(value: object) -> str:
    text = json.dumps(value) if isinstance(value, (dict, list, bool)) or value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "..."
