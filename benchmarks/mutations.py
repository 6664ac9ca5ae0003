"""Do the tests notice? Deliberate faults, each put into a copy of the package, and the tests that fail because of it.

    python benchmarks/mutations.py [--only NAME ...] [--out docs/mutations.md]

A fault is a replacement of source text that must occur exactly once; a fault that no longer applies, and one that no
test catches, end the run with 1. Only the test files that a fault names are run, up to three failures. Each copy runs
in a process of its own, forked after torch is loaded. Two minutes of one core.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).parents[1]
ORACLES = "tests/objectives/test_oracle_values.py"
ROUTES = "tests/objectives/test_routes.py"
WINDOWS = "tests/data/test_windows.py"
ACTING = "tests/objectives/test_acting.py"
STEP = "tests/models/test_step.py"
EQUATIONS = "tests/objectives/test_equations.py"
CLASSIFIED = "tests/objectives/test_oracle_classified.py"


@dataclass(frozen=True)
class Fault:
    """says: in words. edits: (file in robo_orl/, text, replacement). tests: files to run. only: of them, by keyword."""

    says: str
    edits: tuple[tuple[str, str, str], ...]
    tests: tuple[str, ...]
    only: str = ""


FAULTS = {
    "target_not_detached": Fault(
        "The bootstrapped target is not stop-gradiented (IQL: V(s') gets a gradient from Q's loss)",
        (
            ("models/critics.py", "target = target.detach().expand", "target = target.expand"),
            ("models/step.py", "torch.is_grad_enabled() and frames in self.trained", "torch.is_grad_enabled()"),
            ("objectives/iql.py", 'step.v("next").value.squeeze(0).detach()', 'step.v("next").value.squeeze(0)'),
        ),
        (ORACLES, "tests/objectives/test_iql.py"),
        "iql or expectile",
    ),
    "done_and_timeout_swapped": Fault(
        "Terminals and timeouts are swapped: what a timeout cuts is backed up, what a terminal ends is not",
        (("data/windows.py", "discount, exists | terminal", "discount, exists | ~terminal"),),
        (ORACLES, WINDOWS),
        "sarsa or iql or field",
    ),
    "gamma_one_power_less": Fault(
        "gamma is off by one power: the bootstrap is discounted by gamma^(n-1)",
        (("data/windows.py", "gamma ** (ahead if", "gamma**-1 * gamma ** (ahead if"),),
        (ORACLES, WINDOWS),
        "sarsa or best or field",
    ),
    "minimum_over_the_wrong_axis": Fault(
        "The ensemble's minimum is taken over the last axis instead of over the members",
        (("models/agent.py", "values.amin(0)", "values.amin(-1)"),),
        (ORACLES, "tests/objectives/test_qc.py", "tests/objectives/test_iql.py"),
        "minimum or equation",
    ),
    "advantage_sign": Fault(
        "The advantage has the wrong sign: AWR imitates what turned out worse",
        (("objectives/extraction.py", "(self.params.beta * advantage)", "(-self.params.beta * advantage)"),),
        ("tests/objectives/test_cloning.py", "tests/objectives/test_iql.py"),
        "advantage or equation or better",
    ),
    "stale_target": Fault(
        "The target is stale: it is never moved",
        (("models/agent.py", "self.target.update(self.critic", "(lambda *_: None)(self.critic"),),
        (ORACLES, "tests/models/test_targets.py"),
        "sarsa or target",
    ),
    "chunk_mask_ignored": Fault(
        "The chunk mask is ignored: the policy learns the padding past the end of an episode",
        (
            (
                "models/action_heads/action_head.py",
                "valid = mask.to(error.dtype)",
                "valid = mask.to(error.dtype) * 0 + 1",
            ),
        ),
        ("tests/models/test_action_heads.py",),
        "masked or valid_steps",
    ),
    "policy_gradient_leaks_into_q": Fault(
        "The policy's gradient leaks into Q: climbing Q also trains the critic to be climbed",
        (
            (
                "models/step.py",
                "return height.detach() + (path - path.detach())",
                "q = self.agent.critic.q(self.part(self.features, frames), actions).height\n"
                "        return self.aggregate(q) if member is None else q[member]",
            ),
        ),
        (ROUTES, "tests/objectives/test_extraction.py"),
        "td3_bc or climb or finite or gradient",
    ),
    "expectile_upside_down": Fault(
        "The expectile weighs the wrong side: IQL's value tends to the worst action",
        (("objectives/iql.py", "(u < 0).to(u)", "(u > 0).to(u)"),),
        (ORACLES, "tests/objectives/test_iql.py"),
        "expectile",
    ),
    "worst_sample_backed_up": Fault(
        "The worst of N samples is backed up instead of the best",
        (
            (
                "objectives/qc.py",
                'step.aggregate(step.q("next", chunks).value).argmax(-1)',
                'step.aggregate(step.q("next", chunks).value).argmin(-1)',
            ),
        ),
        (ORACLES, "tests/objectives/test_qc.py"),
        "best or chooses or qc-chain",
    ),
    "optimism_instead_of_pessimism": Fault(
        "CQL pushes unseen actions up and the data's down",
        (("objectives/cql.py", "(high - q.value)", "(q.value - high)"),),
        (ORACLES,),
        "cql or cal_ql",
    ),
    "shortened_backup_discounted_whole": Fault(
        "A backup that a timeout cuts short is discounted as if it had all its n steps (SHARSA)",
        (("data/windows.py", "gamma ** (ahead if cut_short else n)", "gamma**n"),),
        (ORACLES, WINDOWS),
        "sharsa or field",
    ),
    "outside_the_box_nothing_clones": Fault(
        "TD3+BC clones the cut chunk: what leaves [-1, 1] is pulled back by nothing",
        (("objectives/td3_bc.py", "((chunk - step.actions)", "((chunk.clamp(-1, 1) - step.actions)"),),
        ("tests/objectives/test_extraction.py",),
        "outside",
    ),
    "cloning_never_ends": Fault(
        "CQL clones in every step and never climbs Q",
        (("objectives/cql.py", "float(step.draws.step < self.params.bc_steps)", "1.0"),),
        ("tests/objectives/test_extraction.py",),
        "cql",
    ),
    "truncation_forgotten": Fault(
        "A truncated normal forgets the mass that was cut off: its density integrates to less than one",
        (("models/action_heads/gaussian.py", " - (above - below).log()", ""),),
        ("tests/models/test_action_heads_density.py",),
        "gaussian",
    ),
    "subgoal_ignored": Fault(
        "SHARSA chooses a subgoal and does not go there",
        (("objectives/sharsa.py", "act(towards, 1, draws", "act(tokens, 1, draws"),),
        (ACTING,),
        "sharsa",
    ),
    "subgoals_of_noise": Fault(
        "SHARSA's candidates are noise instead of samples of the learned subgoals",
        (("objectives/sharsa.py", "return flow.integrate(tokens, ", "return ("),),
        (ACTING,),
        "sharsa",
    ),
    "bad_actions_asked_for": Fault(
        "A policy that is told whether an action was good is asked for bad ones in acting",
        (("objectives/conditioned.py", "good = condition(tokens, ones)", "good = condition(tokens, -ones)"),),
        (ACTING,),
        "good",
    ),
    "nothing_asked_for": Fault(
        "A policy that is told whether an action was good is asked for neither in acting",
        (("objectives/conditioned.py", "good = condition(tokens, ones)", "good = condition(tokens, 0 * ones)"),),
        (ACTING,),
        "good",
    ),
    "guidance_mirrored": Fault(
        "Guidance is mirrored: beta becomes 2 - beta",
        (("objectives/conditioned.py", "0 * ones), self.params.guidance)", "0 * ones), 2 - self.params.guidance)"),),
        (ACTING,),
        "guidance",
    ),
    "guidance_swapped": Fault(
        "Guidance leads from the policy that is asked for good actions to the one that is told nothing",
        (
            (
                "objectives/conditioned.py",
                "integrate(good, noise, guide=plain)",
                "integrate(plain[0], noise, guide=(good, plain[1]))",
            ),
        ),
        (ACTING,),
        "guidance",
    ),
    "failure_asked_for": Fault(
        "A return-conditioned policy is asked for failure in acting",
        (
            (
                "objectives/return_conditioned.py",
                "1.0 if self.params.target is None",
                "0.0 if self.params.target is None",
            ),
        ),
        (ACTING,),
        "return_conditioned",
    ),
    "acts_without_noise": Fault(
        "A distilled policy acts at z = 0: one chunk in every state",
        (("objectives/distil.py", 'z = draws.normal("act"', 'z = 0 * draws.normal("act"'),),
        (ACTING,),
        "distilled",
    ),
    "deaf_to_noise": Fault(
        "A one-step policy ignores its noise",
        (("models/one_step.py", "z = noise.flatten(2)", "z = 0 * noise.flatten(2)"),),
        (ACTING,),
        "one_step",
    ),
    "whole_chunk_must_be_inside": Fault(
        "A frame counts as known only where its whole chunk lies in the episode, not just the valued actions",
        (("models/step.py", "next_action_mask[:, : self.agent.valued_actions].all(-1)", "next_action_mask.all(-1)"),),
        (STEP,),
        "known",
    ),
    "slow_policy_is_the_learned_one": Fault(
        "Where the slow policy is asked for, the learned one answers (CRR, MPO, TD3+BC)",
        (("models/step.py", "(self.agent.slow_head, wide(", "(self.agent.action_head, wide("),),
        (STEP, ORACLES),
        "slow",
    ),
    "dqc_imitates_the_worse": Fault(
        "DQC hands its extraction the advantage with the wrong sign",
        (
            (
                "objectives/dqc.py",
                "q_bar - torch.cat((v_now, v_next)), step.valid",
                "torch.cat((v_now, v_next)) - q_bar, step.valid",
            ),
        ),
        (EQUATIONS,),
        "dqc and (awr or advantage)",
    ),
    "dqc_knows_everything": Fault(
        "DQC imitates frames whose advantage a timeout hides",
        (("objectives/dqc.py", "v_next)), step.valid)", "v_next)), torch.ones_like(step.valid))"),),
        (EQUATIONS,),
        "dqc and (awr or advantage)",
    ),
    "logit_meets_probability": Fault(
        "DQC with bce: the value's logit is regressed to a probability",
        (("objectives/dqc.py", "v.height_of(below) - v.height", "below - v.height"),),
        (EQUATIONS,),
        "dqc and bce",
    ),
    "expectile_of_a_logit": Fault(
        "IQL with bce: the expectile compares Q's value with V's logit",
        (("objectives/iql.py", "expectile_weight(q_bar_now - v_now,", "expectile_weight(q_bar_now - v.height[0],"),),
        (EQUATIONS,),
        "iql and bce",
    ),
    "members_always_averaged": Fault(
        "Advantages of a regressed Q (mc_awr) ignore critic.aggregate",
        (
            (
                "objectives/mc_awr.py",
                "estimate = step.aggregate(q.value.detach())",
                "estimate = q.value.detach().mean(0)",
            ),
        ),
        (EQUATIONS,),
        "mc_awr-mse",
    ),
    "histogram_of_half_the_spread": Fault(
        "HL-Gauss spreads a target half as far",
        (("models/hl_gauss.py", "(SIGMA * self.width))", "(SIGMA / 2 * self.width))"),),
        (EQUATIONS,),
        "hl_gauss and (iql or cql)",
    ),
    "distance_without_gradient": Fault(
        "The distance between one-step policy and flow trains nothing; its value is right",
        (("objectives/distil.py", "distance = (mu - flow)", "distance = (mu.detach() - flow)"),),
        (EQUATIONS,),
        "fql",
    ),
    "conservative_samples_with_gradient": Fault(
        "CQL's penalty also moves the policy whose samples it values",
        (("objectives/cql.py", "[c.detach() for c in chunks]", "chunks"),),
        (EQUATIONS,),
        "cql and mse",
    ),
    "histogram_off_by_half_a_bin": Fault(
        "HL-Gauss: the bins' edges lie half a bin off their centres",
        (
            (
                "models/hl_gauss.py",
                "(centres - self.width / 2, centres[-1:] + self.width / 2)",
                "(centres, centres[-1:] + self.width)",
            ),
        ),
        (CLASSIFIED, "tests/objectives/test_oracle_mathematics.py"),
        "sarsa_bon or projection",
    ),
    "bootstrap_through_the_logit": Fault(
        "With bce the backup takes the next chunk's logit for its value",
        (
            (
                "objectives/sarsa_bon.py",
                'step.aggregate(step.q_target("next").value)',
                'step.aggregate(step.q_target("next").height)',
            ),
        ),
        (CLASSIFIED, EQUATIONS),
        "sarsa_bon and bce",
    ),
    "quantile_of_the_other_side": Fault(
        "DQC's value is the quantile of the other side: kappa_b becomes 1 - kappa_b",
        (("objectives/dqc.py", "below - v_now, self.params.kappa_b", "v_now - below, self.params.kappa_b"),),
        (ORACLES,),
        "dqc",
    ),
}


class Failures:
    """A pytest plugin that remembers which tests failed."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.broken = ""

    def pytest_runtest_logreport(self, report: object) -> None:
        """Failures of set-up count as well."""
        if report.failed:
            self.names.append(report.nodeid)

    def pytest_collectreport(self, report: object) -> None:
        """A package that no longer imports is not caught by a test: it is a fault put in wrongly."""
        if report.failed:
            self.broken = f"{report.nodeid} cannot be collected"


def patched(fault: Fault, folder: Path) -> None:
    """A copy of the package and its tests with the fault in it; ValueError where it does not apply."""
    for name in ("robo_orl", "tests", "policies", "tasks", "pyproject.toml"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "starts"))
        else:
            shutil.copy(source, folder / name)
    for name, text, replacement in fault.edits:
        path = folder / "robo_orl" / name
        source = path.read_text()
        if source.count(text) != 1:
            raise ValueError(f"'{text}' occurs {source.count(text)} times in {name}")
        path.write_text(source.replace(text, replacement))


def caught(fault: Fault, failures: int, answer: Connection) -> None:
    """Run the fault's tests in this process; sends the names of those that fail, or what went wrong."""
    import pytest

    with tempfile.TemporaryDirectory() as made:
        try:
            patched(fault, Path(made))
        except ValueError as error:
            answer.send(str(error))
            return
        os.chdir(made)
        sys.path.insert(0, made)
        sys.dont_write_bytecode = True
        found = Failures()
        options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--maxfail={failures}", "-m", "not slow"]
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            pytest.main([*options, "-k", fault.only, *fault.tests], plugins=[found])
        import robo_orl

        assert Path(robo_orl.__file__).is_relative_to(made), "the tests ran on another copy of the package"
        answer.send(found.broken or found.names)


def short(name: str) -> str:
    """tests/a/test_b.py::test_c[d] as test_b: test_c[d]."""
    file, _, test = name.partition("::")
    return f"`{Path(file).stem}`: {test.removeprefix('test_').replace('_', ' ')}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--failures", type=int, default=3, help="stop a fault's tests after so many")
    parser.add_argument("--out", type=Path, help="write the table here")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    context, rows, missed = multiprocessing.get_context("fork"), [], []
    for name in args.only:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=caught, args=(FAULTS[name], args.failures, theirs))
        process.start()
        theirs.close()
        found = ours.recv()
        process.join()
        if isinstance(found, str) or not found:
            missed.append(f"{name}: {found or 'no test catches it'}")
        else:
            rows.append(f"| {FAULTS[name].says} | {'<br>'.join(short(test) for test in found)} |")
        print(f"{name}: {found}", flush=True)
    table = "\n".join(("| fault | caught by |", "| --- | --- |", *rows)) + "\n"
    if args.out and not missed:
        args.out.write_text(f"{PREFACE}\n{table}")
    print("\n".join(missed), file=sys.stderr)
    return 1 if missed else 0


PREFACE = """# Do the tests notice?

Each row is a fault that was put on purpose into a copy of the package, and the tests that then fail (the first few;
the same tests pass without it). `python benchmarks/mutations.py --out docs/mutations.md` makes this page again, and
ends with 1 where a fault goes unnoticed.
"""

if __name__ == "__main__":
    raise SystemExit(main())
