"""The findings of README and start page, and the verdicts of pages: sentences and tables of the records' numbers.

Verdicts are the report's own (`robo_orl.report`): what a page says is what `robo-orl report results/SUITE` draws.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from functools import cache

from horizon import beyond
from numbers_of_results import cost_row, folder, record, table, written
from trainings import each, values_of

from robo_orl.base.text import number_word
from robo_orl.report.boards import Board, PolicyRow
from robo_orl.report.compare import Comparison
from robo_orl.report.contents import load
from robo_orl.report.document import Report, report_of
from robo_orl.report.verdicts import BoardVerdict, EndpointVerdict, listed

SHARED = ("qc", "iql", "iql_shared_detached")
ARMS_OF_DATA = ("qc", "bc", "return_conditioned_flow")
SEPARATE = ("iql_separate", "iql_separate_full_ema", "qc_separate_full_ema")


def findings() -> str:
    """A Markdown list; README holds the same text, which a test compares."""
    return "\n".join(_item(*finding) for finding in (_success(), _data(), _horizon(), _price()))


def _item(claim: str, numbers: str, *suites: str) -> str:
    text = textwrap.fill(f"- **{claim}** {numbers}", 120, subsequent_indent="  ", break_on_hyphens=False)
    return f"{text}\n  {', '.join(f'`robo-orl report results/{suite}`' for suite in suites)}"


def _success() -> tuple[str, ...]:
    pieces, whole = ("controls", "chain2", "stitch"), ("controls", "chain1", "mg")
    fast = ("must_pay", "chain2_one_reward", "half_fast")
    free = number_word(len(_board_verdict(*pieces).without))
    numbers = (
        f"Within {_allowed(*pieces, 60)} decisions of chain2 `stitch` `sarsa_bon` solves"
        f" {each(*pieces, 'sarsa_bon', 'within_60')} of 100, {free} without a critic at most"
        f" {_most(*pieces, 'within_60')}; within {_allowed(*whole, 40)} of chain1 `mg` `bcq`"
        f" {each(*whole, 'bcq', 'within_40')}, against {_most(*whole, 'within_40')}. Ahead of them by return:"
        f" {_ahead_on('controls', 'return')}; by success: {_ahead_on('controls', 'success')}."
        f" {_tuned()} Where only values can win, `sarsa_bon` outpaces every demonstration in"
        f" {each(*fast, 'sarsa_bon', 'within_60')}, cloning {each(*fast, 'bc', 'within_60')}."
    )
    return (
        "A critic pays first in time, over three trainings.",
        numbers,
        "controls",
        "tuned",
        "must_pay",
    )


def _tuned() -> str:
    """What is left once every policy is tuned on such data."""
    half, critic = (each("tuned", "chain2", "stitch", name, "return") for name in ("top_bc_top25", "sarsa_bon"))
    ahead = {
        (task, endpoint): _listed(_ahead("tuned", task, "stitch", endpoint))
        for task, deadline in (("chain1", "within_40"), ("chain2", "within_60"))
        for endpoint in ("return", deadline)
    }
    return (
        f"All tuned on `stitch`, ahead on chain1: {ahead['chain1', 'return']} by return, {ahead['chain1', 'within_40']}"
        f" in that time; on chain2: {ahead['chain2', 'return']} by return (`sarsa_bon` {critic}, cloning of the best"
        f" half {half}), {ahead['chain2', 'within_60']} in time."
    )


def _allowed(suite: str, task: str, regime: str, percent: int) -> str:
    return f"{decisions(suite, task, regime, percent)} of {record(suite, task, regime, 'bc').task.horizon}"


def _most(suite: str, task: str, regime: str, endpoint: str) -> int:
    """The successes of the best training of any policy without a critic."""
    free = _board_verdict(suite, task, regime).without
    return max(int(values.sum()) for name in free for values in values_of(suite, task, regime, name, endpoint))


def _ahead_on(suite: str, endpoint: str) -> str:
    """'`sarsa_bon` on three of four boards, `bcq` and `idql` on two': the critics that are ahead by an endpoint on more
    than one board."""
    verdicts = report(suite).verdicts
    boards = Counter(name for v in verdicts for name in _ahead(suite, v.task, v.regime, endpoint))
    by_count: dict[int, list[str]] = {}
    for name, count in boards.most_common():
        if count > 1:
            by_count.setdefault(count, []).append(name)
    parts = [f"{_listed(sorted(names))} on {number_word(count)}" for count, names in by_count.items()]
    if not parts:
        return "none"
    first, *rest = parts
    return ", ".join([f"{first} of {number_word(len(verdicts))} boards", *rest])


def _data() -> tuple[str, str, str]:
    few, many = ("data_and_size", "chain2", "stitch+25demos"), ("data_and_size", "chain2", "stitch+800demos")

    def went(policy: str) -> str:
        return f"from {each(*few, policy, 'success', 'tiny')} to {each(*many, policy, 'success', 'tiny')}"

    critic, bc, conditioned = (each(*many, policy, "within_60", "tiny") for policy in ARMS_OF_DATA)
    numbers = (
        f"From 25 demonstrations of chain2 `stitch` to 800 `qc` goes {went('qc')} of 100, cloning {went('bc')}, cloning"
        f" told the outcome {went('return_conditioned_flow')}. Within {decisions(*many, 60)} decisions, with 800"
        f" demonstrations, `qc` solves {critic}, cloning {bc}, cloning told the outcome {conditioned}."
    )
    claim = "With more demonstrations a critic gains over cloning; in success, so does being told the outcome."
    return claim, numbers, "data_and_size"


def _horizon() -> tuple[str, str, str]:
    suite, regime = "horizon_controls", "mh"
    bc, returns, critic = "bc", "mc_awr", "iql_l1"

    def of(policy: str, task: str) -> str:
        return each(suite, task, regime, policy, "success")

    solved = {name: [v.sum() for v in values_of(suite, "chain8", regime, name, "success")] for name in (bc, critic)}
    broken = sum(2 * k < min(solved[bc]) for k in solved[critic])
    claim = (
        f"At eight cubes {number_word(broken)} of {number_word(len(solved[critic]))} trainings of a bootstrapped critic"
        " break, none of `bc` does."
        if broken
        else "A longer chain costs cloning too; what it costs critics beyond that, these records cannot tell."
    )
    lost = {name: beyond(suite, regime, bc, name) for name in (critic, returns)}
    told = {name: "" if interval.high < 0 else ", not told from 0" for name, interval in lost.items()}
    numbers = (
        f"With {record(suite, 'chain8', regime, bc).task.horizon:,} decisions `iql` by the head of cloning solves"
        f" {of(critic, 'chain8')} of 100, cloning {of(bc, 'chain8')}, `mc_awr`, whose critic backs nothing up,"
        f" {of(returns, 'chain8')}; with half of them {of(critic, 'chain4')}; {of(bc, 'chain4')};"
        f" {of(returns, 'chain4')}. Doubling the chain moves stage 1, beyond cloning's, by {lost[critic]} log odds"
        f"{told[critic]} and {lost[returns]}{told[returns]}."
    )
    return claim, numbers, suite


def _price() -> tuple[str, str, str]:
    numbers = (
        f"At a billion parameters `qc` and `iql` on the policy's backbone cost {_range(SHARED, 'step_relative')} times"
        f" the time of a cloned flow and {_range(SHARED, 'memory_relative')} times the memory; with their own"
        f" {_range(SEPARATE, 'step_relative')} and {_range(SEPARATE, 'memory_relative')}."
    )
    return "The price is the layout, not the critic.", numbers, "cost"


def _range(policies: tuple[str, ...], key: str) -> str:
    values = sorted(f"{getattr(cost_row('cost', '1b', policy), key):.2f}" for policy in policies)
    return values[0] if values[0] == values[-1] else f"{values[0]} to {values[-1]}"


# ------------------------------------------------------------------------------------------------------------- verdicts


@cache
def report(suite: str) -> Report:
    """The report of a suite's records."""
    return report_of(load(folder(suite)))


def verdict_counts(suite: str, endpoint: str) -> tuple[int, int]:
    """The boards on which an endpoint can answer, and those with a critic ahead of every policy without one."""
    tally = next(tally for tally in report(suite).headline.tallies if tally.endpoint == endpoint)
    return tally.boards, tally.ahead


def verdict_table(suite: str) -> str:
    """A row per board, a column per endpoint: the critics that are ahead of every policy without one."""
    made = report(suite)
    rows = [[f"{v.task} `{v.regime}`", *(_verdict(one) for one in v.endpoints)] for v in made.verdicts]
    return table(["board", *(endpoint.title for endpoint in made.endpoints)], rows)


def _verdict(one: EndpointVerdict) -> str:
    if one.uninformative:
        return f"cannot answer: {one.uninformative}"
    return ", ".join(f"`{written(name)}`" for name in one.ahead) or "none"


def cannot_answer(suite: str) -> str:
    """The sentence about the boards on which success tells nothing about critics."""
    return next(said for said in report(suite).headline.sentences if said.startswith("Success cannot answer"))


def ahead(suite: str, task: str, regime: str, endpoint: str) -> str:
    """'`bcq` and `iql`': the critics that are ahead on a board by an endpoint."""
    return _listed(_ahead(suite, task, regime, endpoint))


def _ahead(suite: str, task: str, regime: str, endpoint: str) -> list[str]:
    return next(one for one in _board_verdict(suite, task, regime).endpoints if one.endpoint == endpoint).ahead


def _listed(policies: list[str]) -> str:
    return listed([f"`{written(name)}`" for name in policies]) if policies else "none"


def without(suite: str, task: str, regime: str) -> str:
    """The policies without a critic that a critic must be ahead of on a board."""
    return ", ".join(f"`{written(name)}`" for name in _board_verdict(suite, task, regime).without)


def _board_verdict(suite: str, task: str, regime: str) -> BoardVerdict:
    return next(v for v in report(suite).verdicts if (v.task, v.regime) == (task, regime))


def _board(suite: str, task: str, regime: str) -> Board:
    return next(b for b in report(suite).boards if (b.task, b.regime) == (task, regime))


def _row(suite: str, task: str, regime: str, policy: str) -> PolicyRow:
    return next(row for row in _board(suite, task, regime).rows if row.policy == policy)


def within(suite: str, task: str, regime: str, policy: str, percent: int) -> int:
    """Successes within a share of the limit."""
    row = _row(suite, task, regime, policy)
    return next(rate.k for rate in row.within if rate.endpoint == f"within_{percent}")


def decisions(suite: str, task: str, regime: str, percent: int) -> int:
    """The decisions that a share of the limit allows."""
    return next(d.decisions for d in _board(suite, task, regime).deadlines if d.endpoint == f"within_{percent}")


def mean_return(suite: str, task: str, regime: str, policy: str) -> str:
    """'0.215 [0.17, 0.26]': mean discounted return with its interval over the episodes."""
    mean = _row(suite, task, regime, policy).discounted_return
    interval = "" if mean.low is None else f" [{mean.low:.2f}, {mean.high:.2f}]"
    return f"{mean.mean:.3f}{interval}"


def returns(suite: str, policies: list[str], boards: list[tuple[str, str]]) -> str:
    """A row per policy: its mean return on every board with the interval, and its successes within the deadlines."""
    header = ["policy", *(f"{task} `{regime}`" for task, regime in boards)]
    rows = [
        [f"`{written(policy)}`", *(_return_and_deadlines(suite, *board, policy) for board in boards)]
        for policy in policies
    ]
    return table(header, rows)


def _return_and_deadlines(suite: str, task: str, regime: str, policy: str) -> str:
    counts = ", ".join(str(rate.k) for rate in _row(suite, task, regime, policy).within)
    return f"{mean_return(suite, task, regime, policy)}; {counts}"


def versus(suite: str, task: str, regime: str, policy: str, against: str, endpoint: str) -> Comparison:
    """One paired comparison of the report."""
    place = (task, regime, policy, against, endpoint)
    return next(c for c in report(suite).comparisons if (c.task, c.regime, c.policy, c.against, c.endpoint) == place)


def against_control(suite: str, endpoint: str) -> str:
    """'14 of 68 better and 18 worse': the critics compared with the control, by an endpoint."""
    tally = next(tally for tally in report(suite).headline.tallies if tally.endpoint == endpoint)
    return f"better in {tally.better} of {tally.compared} comparisons and worse in {tally.worse}"


FUNCTIONS = {
    f.__name__: f
    for f in (
        findings, verdict_counts, verdict_table, ahead, without, within, decisions, mean_return, returns, versus,
        against_control, cannot_answer,
    )
}  # fmt: skip
