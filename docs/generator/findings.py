"""The three findings of README and start page: sentences whose numbers come from the records."""

from __future__ import annotations

import textwrap

from numbers_of_results import cost_row, k, value_error, wins

BOARDS = [("chain1", "mg"), ("chain2", "mg"), ("chain1", "stitch"), ("chain2", "stitch")]
SHARED = ("qc", "iql", "iql_shared_detached")
SEPARATE = ("iql_separate", "iql_separate_full_ema", "qc_separate_full_ema")


def findings() -> str:
    """A Markdown list; README holds the same text, which a test compares."""
    return "\n".join(_item(*finding) for finding in (_success(), _horizon(), _price()))


def _item(claim: str, numbers: str, command: str) -> str:
    text = textwrap.fill(f"- **{claim}** {numbers}", 120, subsequent_indent="  ", break_on_hyphens=False)
    return f"{text}\n  `{command}`"


def _success() -> tuple[str, str, str]:
    found = wins("methods", BOARDS, "bc")
    numbers = (
        f"Against deterministic cloning, trained critics are better in {found['better']} of {found['of']} paired"
        f" comparisons and worse in {found['worse']}; where they are better, cloning the successes alone is as good."
    )
    return "On flawed demonstrations a critic rarely beats cloning.", numbers, "robo-orl report results/methods"


def _horizon() -> tuple[str, str, str]:
    near, far = (value_error("horizon", task, "mg", "iql") for task in ("chain1", "chain8"))
    bc, iql, qc = (k("horizon", "chain4", "mg", policy) for policy in ("bc", "iql", "qc"))
    numbers = (
        f"That of `iql` is {near} with one cube and {far} with eight; at four cubes cloning solves {bc} of 50 episodes,"
        f" `iql` {iql} and `qc` {qc}."
    )
    return "The critic's error grows with the horizon.", numbers, "robo-orl report results/horizon"


def _price() -> tuple[str, str, str]:
    numbers = (
        f"With a billion parameters a critic on the policy's backbone costs {_range(SHARED, 'step_relative')} times the"
        f" time of cloning and {_range(SHARED, 'memory_relative')} times the memory; with a backbone of its own"
        f" {_range(SEPARATE, 'step_relative')} and {_range(SEPARATE, 'memory_relative')}."
    )
    return "The price is the layout, not the critic.", numbers, "robo-orl report results/cost"


def _range(policies: tuple[str, ...], key: str) -> str:
    values = sorted(f"{getattr(cost_row('cost', '1b', policy), key):.2f}" for policy in policies)
    return values[0] if values[0] == values[-1] else f"{values[0]} to {values[-1]}"


FUNCTIONS = {"findings": findings}
