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
READS = "tests/models/test_parts_that_are_read.py"
REFERENCES = "tests/references/test_named_algorithms.py"
TRIALS = "tests/sweep/test_tune_trials.py"
ACTING = "tests/evaluate/test_acting.py"
AVERAGE = "tests/models/test_averaged_policy.py"
BACKUPS = "tests/engine/test_what_is_backed_up.py"


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
        (("objectives/iql.py", "(u < 0).float()", "(u > 0).float()"),),
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
        "best or chooses",
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
    "flow_blind_to_time": Fault(
        "The expert of a flow is blind to the time: a noisy chunk and a clean one get the same answer",
        (
            ("models/action_heads/flow.py", "self.time_in(time_features(t).to", "self.time_in(time_features(t * 0).to"),
            (
                "models/action_heads/flow_expert.py",
                "self.time_in(time_features(t).to",
                "self.time_in(time_features(t * 0).to",
            ),
        ),
        (READS,),
        "time",
    ),
    "first_tokens_for_action_queries": Fault(
        "Parallel heads read the first h tokens, which are pictures, instead of their action queries, the last h",
        (("models/action_heads/parallel.py", "[:, -self.count :]", "[:, : self.count]"),),
        (READS,),
        "query",
    ),
    "small_critic_of_full_size": Fault(
        "The small backbone of a critic (separate_small) is built at the policy's full size",
        (("models/agent.py", '"separate_small": config.small_size', '"separate_small": self.policy.backbone.size'),),
        (READS,),
        "size",
    ),
    "slow_critic_on_online_tokens": Fault(
        "A full_ema target evaluates its slow heads on the tokens of the online backbone",
        (("models/targets.py", "self.backbone(obs) if self.full else wide(tokens)", "wide(tokens)"),),
        (READS,),
        "slow_critic",
    ),
    "online_policy_for_the_slow_one": Fault(
        "The slow copy of the policy is the online head itself",
        (
            (
                "models/step.py",
                "(self.agent.slow_head, wide(tokens.detach())) if slow",
                "(self.agent.action_head, wide(tokens.detach())) if slow",
            ),
        ),
        (READS,),
        "slow_policy",
    ),
    "another_reference_than_named": Fault(
        "The reference `cql` is robomimic's IQL",
        (("references/algorithms.py", '"cql": Algorithm("cql"', '"cql": Algorithm("iql"'),),
        (REFERENCES,),
        "named",
    ),
    "reference_acts_unnormalised": Fault(
        "A reference that learned from normalised observations acts on raw ones",
        (
            (
                "references/algo.py",
                "RolloutPolicy(fork(policy.policy), policy.obs_normalization_stats)",
                "RolloutPolicy(fork(policy.policy))",
            ),
        ),
        (REFERENCES,),
        "acts",
    ),
    "stages_do_not_count": Fault(
        "A search's score is its successes alone: trials of equal successes are equal",
        (("sweep/tune.py", " + 0.999 * evaluation.stages_reached", ""),),
        (TRIALS,),
        "stages",
    ),
    "last_of_equal_trials": Fault(
        "Of equal trials the last one is chosen: a policy file is left for nothing",
        (("sweep/tune.py", "scores.index(max(scores))", "len(scores) - 1 - scores[::-1].index(max(scores))"),),
        (TRIALS,),
        "equal",
    ),
    "variants_settings_lost": Fault(
        "A trial of a variant is the preset with the point: the variant's own settings are lost",
        (("sweep/tune.py", "settings = deep_merge(choice.set, nested(point))", "settings = nested(point)"),),
        (TRIALS,),
        "variant",
    ),
    "suites_settings_lost": Fault(
        "Trials are trained without what the suite lays on every policy",
        (("sweep/tune.py", "            set=self.layer,\n", ""),),
        (TRIALS,),
        "cells",
    ),
    "search_for_the_worst": Fault(
        "A search turns to where scores are low",
        (("sweep/search.py", 'direction="maximize"', 'direction="minimize"'),),
        (TRIALS,),
        "turns",
    ),
    "tuned_on_test_starts": Fault(
        "Trials are judged on the start states that results are from",
        (("sweep/tune.py", 'starts="tuning"', 'starts="test"'),),
        (TRIALS,),
        "cells",
    ),
    "starts_ignored": Fault(
        "An evaluation asked for tuning starts plays the test starts",
        (("evaluate/evaluate.py", "seen.history, starts)", "seen.history)"),),
        ("tests/evaluate/test_start_banks.py",),
        "evaluation_plays",
    ),
    "tuning_episodes_taken_for_results": Fault(
        "Episodes from one bank of start states are kept as those of another",
        (("evaluate/scores.py", '"starts": hello.starts_sha256,', '"starts": "",'),),
        ("tests/evaluate/test_start_banks.py",),
        "never_taken",
    ),
    "gamma_not_from_the_file": Fault(
        "gamma is 0.99 in the windows, whatever the policy file says",
        (("engine/sources.py", "policy.gamma.value(source.task.horizon)", "0.99"),),
        (BACKUPS,),
        "windows",
    ),
    "n_step_ignored": Fault(
        "n_step is ignored: a backup is as long as the chunk",
        (("engine/sources.py", "            policy.n,\n", "            policy.action_head.chunk,\n"),),
        (BACKUPS,),
        "windows",
    ),
    "matched_to_the_first_task": Fault(
        "With several tasks a matched discount is matched to the horizon of the first",
        (("engine/sources.py", "policy.gamma.value(source.task", "policy.gamma.value(run.task"),),
        (BACKUPS,),
        "matched",
    ),
    "cut_short_dropped": Fault(
        "SHARSA's way of timeouts does not reach the windows: what a timeout cuts is dropped",
        (("engine/sources.py", "            OBJECTIVES[policy.objective.name].cut_short,\n", ""),),
        (BACKUPS,),
        "windows",
    ),
    "filter_ignored": Fault(
        "A run with a filter learns from all episodes",
        (
            (
                "engine/sources.py",
                "            source.filter,\n            policy",
                "            None,\n            policy",
            ),
        ),
        (BACKUPS,),
        "filter",
    ),
    "the_same_batch_again": Fault(
        "Every step of a training sees the first batch",
        (("engine/train.py", "windows.batch(run.seed, step, *mine", "windows.batch(run.seed, 0, *mine"),),
        (BACKUPS,),
        "training_learns",
    ),
    "refused_without_need": Fault(
        "A setting that would have done something is refused, as if it did nothing",
        (("models/compatibility.py", '"tau": critic.target == "none"', '"tau": critic.target != "full_ema"'),),
        ("tests/objectives/test_no_silent_switch.py",),
        "tau",
    ),
    "refused_for_another_setting": Fault(
        "A refusal names another setting than the one that was changed",
        (("models/compatibility.py", '"critic.{name} does nothing here', '"critic.loss does nothing here'),),
        ("tests/objectives/test_no_silent_switch.py",),
        "bins or small_size",
    ),
    "whole_chunk_executed": Fault(
        "An evaluation executes the whole chunk, whatever `execute` says",
        (("evaluate/acting.py", "chunks[:, : self.execute]", "chunks"),),
        (ACTING,),
        "executed",
    ),
    "lost_success_counts_at_the_end": Fault(
        "A success that was lost again counts as one at the end",
        (("evaluate/simulator.py", "Outcome(self.success_once, success_at_end", "Outcome(*[self.success_once] * 2"),),
        (ACTING,),
        "lost",
    ),
    "other_checkpoints_episodes_kept": Fault(
        "Episodes of another checkpoint are kept as those of this one",
        (("evaluate/scores.py", '                "checkpoint": self.checkpoint_sha256,\n', ""),),
        (ACTING,),
        "kept",
    ),
    "average_without_its_extra_networks": Fault(
        "The averaged policy leaves out the networks that an objective adds: its one-step policy stays as it began",
        (("models/policy_average.py", "        average_buffers(self.extra, extra, rate, gather)\n", ""),),
        (AVERAGE,),
        "part",
    ),
    "average_ranked_on_its_own_tokens": Fault(
        "A critic that shares its backbone ranks an averaged policy's samples on the averaged tokens, not on its own",
        (("models/agent.py", "if self.average is not None and self.critic_backbone is None:", "if False:"),),
        (AVERAGE,),
        "ranked",
    ),
    "reference_filter_ignored": Fault(
        "A reference with a filter learns from all episodes",
        (
            (
                "references/training.py",
                "filter_by_attribute=config.train.hdf5_filter_key",
                "filter_by_attribute=None",
            ),
        ),
        (REFERENCES,),
        "filter",
    ),
    "reference_sees_all_keys": Fault(
        "A reference sees every observation of the file, whatever low_dim says",
        (("references/training.py", "reference.low_dim or list(arrays.spec)", "list(arrays.spec)"),),
        (REFERENCES,),
        "keys",
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
