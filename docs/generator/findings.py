"""The three findings of README and start page: sentences whose numbers come from the records."""

from __future__ import annotations

from numbers_of_results import cost_row, k, value_error, wins

BOARDS = [("chain1", "mg"), ("chain2", "mg"), ("chain1", "stitch"), ("chain2", "stitch")]
SHARED = ("qc", "iql", "iql_shared_detached")
SEPARATE = ("iql_separate", "iql_separate_full_ema", "qc_separate_full_ema")


def findings() -> str:
    """A Markdown list; README holds the same text, which a test compares."""
    return "\n".join((_success(), _horizon(), _price()))


def _success() -> str:
    found = wins("methods", BOARDS, "bc")
    return (
        "- **On flawed demonstrations a critic rarely beats cloning.** Against deterministic cloning, trained critics are"
        f" better in {found['better']} of {found['of']}\n  paired comparisons and worse in {found['worse']}; where they are"
        " better, cloning of the successes alone is as good.\n  `robo-orl report results/methods`"
    )


def _horizon() -> str:
    near, far = (value_error("horizon", task, "mg", "iql") for task in ("chain1", "chain8"))
    bc, iql, qc = (k("horizon", "chain4", "mg", policy) for policy in ("bc", "iql", "qc"))
    return (
        f"- **The critic's error grows with the horizon.** That of `iql` is {near} with one cube and {far} with eight; at"
        f" four cubes cloning\n  solves {bc} of 50 episodes, `iql` {iql} and `qc` {qc}. `robo-orl report results/horizon`"
    )


def _price() -> str:
    return (
        f"- **The price is the layout, not the critic.** With a billion parameters a critic on the policy's backbone costs"
        f" {_range(SHARED, 'step_relative')}\n  times the time of cloning and {_range(SHARED, 'memory_relative')} times the"
        f" memory; with a backbone of its own {_range(SEPARATE, 'step_relative')} and"
        f" {_range(SEPARATE, 'memory_relative')}.\n  `robo-orl report results/cost`"
    )


def _range(policies: tuple[str, ...], key: str) -> str:
    values = sorted(f"{getattr(cost_row('cost', '1b', policy), key):.2f}" for policy in policies)
    return values[0] if values[0] == values[-1] else f"{values[0]} to {values[-1]}"


FUNCTIONS = {"findings": findings}
