"""The deliberate faults of mutations.py: what each changes in the package, and the tests that must notice."""

from __future__ import annotations

from dataclasses import dataclass

ORACLES = "tests/objectives/test_oracle_values.py"
ROUTES = "tests/objectives/test_routes.py"
WINDOWS = "tests/data/test_windows.py"
READS = "tests/models/test_parts_that_are_read.py"
REFERENCES = "tests/robomimic/test_named_algorithms.py"
TRIALS = "tests/sweep/test_tune_trials.py"
CELLS = "tests/sweep/test_cells.py"
REGRESSION = "tests/results/test_regression.py"
PLAYING = "tests/evaluate/test_agent_policy.py"
AVERAGE = "tests/agent/test_averaged_policy.py"
BACKUPS = "tests/engine/test_what_is_backed_up.py"
OPTIMUM = "tests/objectives/test_soft_optimum.py"
ACTING = "tests/objectives/test_acting.py"
STEP = "tests/objectives/test_step.py"
EQUATIONS = "tests/objectives/test_equations.py"
CLASSIFIED = "tests/objectives/test_oracle_classified.py"
GIVEN = "tests/rewards/test_given.py"
INFERRED = "tests/rewards/test_inferred.py"
LEARNED = "tests/rewards/test_learned.py"
IMITATED = "tests/online/test_imitation.py"


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
            ("objectives/step.py", "torch.is_grad_enabled() and frames in self.trained", "torch.is_grad_enabled()"),
            ("objectives/step.py", 'self.v("next").value.squeeze(0).detach()', 'self.v("next").value.squeeze(0)'),
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
        (("agent/agent.py", "values.amin(0)", "values.amin(-1)"),),
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
        (("agent/agent.py", "self.target.update(self.critic", "(lambda *_: None)(self.critic"),),
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
                "objectives/step.py",
                "return height.detach() + (path - path.detach())",
                "q = self.agent.critic.q(self.features(frames), actions).height\n"
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
                "objectives/step.py",
                "self.aggregate(self.q(frames, candidates).value).argmax(-1)",
                "self.aggregate(self.q(frames, candidates).value).argmin(-1)",
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
    "one_step_ignores_its_noise": Fault(
        "A one-step policy ignores its noise",
        (("objectives/distil.py", 'z = rearrange(noise, "B N h A -> B N (h A)")', "z = 0 * noise.flatten(2)"),),
        (ACTING,),
        "one_step",
    ),
    "whole_chunk_must_be_inside": Fault(
        "A frame counts as known only where its whole chunk lies in the episode, not just the valued actions",
        (
            (
                "objectives/step.py",
                "next_action_mask[:, : self.agent.valued_actions].all(-1)",
                "next_action_mask.all(-1)",
            ),
        ),
        (STEP,),
        "known",
    ),
    "slow_policy_is_the_learned_one": Fault(
        "Where the slow policy is asked for, the learned one answers (CRR, MPO, TD3+BC)",
        (("objectives/step.py", "(self.agent.slow_head, wide(", "(self.agent.action_head, wide("),),
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
        (("objectives/iql.py", "target - estimate.value.detach()", "target - estimate.height.detach()"),),
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
        (("models/critics.py", "(SIGMA * self.width))", "(SIGMA / 2 * self.width))"),),
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
                "models/critics.py",
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
    "flow_blind_to_time": Fault(
        "The expert of a flow is blind to the time: a noisy chunk and a clean one get the same answer",
        (
            (
                "models/action_heads/flow.py",
                "return self.time_in(time_features(t, ",
                "return self.time_in(time_features(t * 0, ",
            ),
        ),
        (READS,),
        "time",
    ),
    "first_tokens_for_action_queries": Fault(
        "Parallel heads read the first h tokens, which are pictures, instead of their action queries, the last h",
        (("models/action_heads/action_head.py", "[:, -self.count :]", "[:, : self.count]"),),
        (READS,),
        "query",
    ),
    "small_critic_of_full_size": Fault(
        "The small backbone of a critic (separate_small) is built at the policy's full size",
        (("agent/agent.py", '"separate_small": config.small_size', '"separate_small": self.policy.backbone.size'),),
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
                "objectives/step.py",
                "(self.agent.slow_head, wide(tokens.detach())) if slow",
                "(self.agent.action_head, wide(tokens.detach())) if slow",
            ),
        ),
        (READS,),
        "slow_policy",
    ),
    "another_reference_than_named": Fault(
        "The reference `cql` is robomimic's IQL",
        (("robomimic/algorithms.py", '"cql": Algorithm("cql"', '"cql": Algorithm("iql"'),),
        (REFERENCES,),
        "named",
    ),
    "reference_acts_unnormalised": Fault(
        "A reference that learned from normalised observations acts on raw ones",
        (
            (
                "robomimic/algo.py",
                "RolloutPolicy(fork(policy.policy), policy.obs_normalization_stats)",
                "RolloutPolicy(fork(policy.policy))",
            ),
        ),
        (REFERENCES,),
        "acts",
    ),
    "stages_do_not_count": Fault(
        "A search's score is its successes alone: trials of equal successes are equal",
        (("sweep/tune.py", " + 1e-4 * outcome.stages_reached", ""),),
        (TRIALS,),
        "stages",
    ),
    "first_task_decides_alone": Fault(
        "A trial on several tasks is judged by the first of them",
        (("sweep/tune.py", "for outcome in outcomes]))", "for outcome in outcomes[:1]]))"),),
        (TRIALS,),
        "several_tasks",
    ),
    "rolled_out_by_anothers_selection": Fault(
        "Cells that decode one training differently share the rollouts from stored states",
        (("sweep/jobs.py", "(_selection(cell), cell.name) if states else ([], cell.run_name)", "([], cell.run_name)"),),
        (CELLS,),
        "decodes",
    ),
    "newtons_steps_as_they_come": Fault(
        "A logistic fit takes steps that lower its likelihood, and swings",
        (("results/regression.py", "if not worse.any():", "if True:"),),
        (REGRESSION,),
        "shortened",
    ),
    "last_of_equal_trials": Fault(
        "Of equal trials the last one is chosen: a policy file is left for nothing",
        (("sweep/tune.py", "scores.index(max(scores))", "len(scores) - 1 - scores[::-1].index(max(scores))"),),
        (TRIALS,),
        "equal",
    ),
    "spelled_defaults_are_another_policy": Fault(
        "A policy that spells out a default of its objective is computed a second time, under another address",
        (("objectives/__init__.py", "params = typed.identity() |", "params = config.params |"),),
        ("tests/objectives/test_one_spelling.py",),
        "spelled or spelling or written",
    ),
    "variants_settings_lost": Fault(
        "A trial of a variant is the preset with the point: the variant's own settings are lost",
        (("sweep/search.py", "settings = deep_merge(choice.set, nested(point))", "settings = nested(point)"),),
        (TRIALS,),
        "variant",
    ),
    "suites_settings_lost": Fault(
        "Trials are trained without what the suite lays on every policy",
        (("sweep/search.py", "            set=self.layer,\n", ""),),
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
        (("sweep/search.py", 'starts="tuning"', 'starts="test"'),),
        (TRIALS,),
        "cells",
    ),
    "starts_ignored": Fault(
        "An evaluation asked for tuning starts plays the test starts",
        (("evaluate/success.py", "observation.history, starts, keys)", "observation.history, keys=keys)"),),
        ("tests/evaluate/test_start_banks.py",),
        "evaluation_plays",
    ),
    "tuning_episodes_taken_for_results": Fault(
        "Episodes from one bank of start states are kept as those of another",
        (("results/addresses.py", '"starts": starts_sha256,', '"starts": "",'),),
        ("tests/evaluate/test_start_banks.py",),
        "never_taken",
    ),
    "gamma_not_from_the_file": Fault(
        "gamma is 0.99 in the windows, whatever the policy file says",
        (("engine/task_data.py", "policy.gamma.value(source.task.horizon)", "0.99"),),
        (BACKUPS,),
        "windows",
    ),
    "n_step_ignored": Fault(
        "n_step is ignored: a backup is as long as the chunk",
        (("engine/task_data.py", "            policy.n,\n", "            policy.action_head.chunk,\n"),),
        (BACKUPS,),
        "windows",
    ),
    "matched_to_the_first_task": Fault(
        "With several tasks a matched discount is matched to the horizon of the first",
        (("engine/task_data.py", "policy.gamma.value(source.task", "policy.gamma.value(run.task"),),
        (BACKUPS,),
        "matched",
    ),
    "cut_short_dropped": Fault(
        "SHARSA's way of timeouts does not reach the windows: what a timeout cuts is dropped",
        (("engine/task_data.py", "            objective.cut_short,\n", ""),),
        (BACKUPS,),
        "windows",
    ),
    "filter_ignored": Fault(
        "A run with a filter learns from all episodes",
        (
            (
                "engine/task_data.py",
                "            source.filter,\n            policy",
                "            None,\n            policy",
            ),
        ),
        (BACKUPS,),
        "filter",
    ),
    "the_same_batch_again": Fault(
        "Every step of a training sees the first batch",
        (("engine/train.py", "windows.batch(run.seed, step, rank", "windows.batch(run.seed, 0, rank"),),
        (BACKUPS,),
        "training_learns",
    ),
    "refused_without_need": Fault(
        "A setting that would have done something is refused, as if it did nothing",
        (("agent/compatibility.py", '"tau": (critic.target == "none"', '"tau": (critic.target != "full_ema"'),),
        ("tests/objectives/test_no_silent_switch.py",),
        "tau",
    ),
    "refused_for_another_setting": Fault(
        "A refusal names another setting than the one that was changed",
        (("agent/compatibility.py", '"critic.{name} does nothing here', '"critic.loss does nothing here'),),
        ("tests/objectives/test_no_silent_switch.py",),
        "bins or small_size",
    ),
    "whole_chunk_executed": Fault(
        "An evaluation executes the whole chunk, whatever `execute` says",
        (("evaluate/policy.py", "chunks[..., : self.execute, :]", "chunks"),),
        (PLAYING,),
        "executed",
    ),
    "branches_leave_a_trace": Fault(
        "An episode goes on where its last branch ended",
        (("rollout/simulator.py", "self.branches.pop(message.slot).close()", "self.branches.pop(message.slot)"),),
        ("tests/rollout/test_branches.py", "tests/rollout/test_look_ahead.py"),
        "bit_equal or bit_by_bit",
    ),
    "search_leaves_branches_that_may_win": Fault(
        "A search leaves a branch that is behind, though it may still overtake",
        (("rollout/search.py", "state.gained + self.gamma**state.decisions * state.to_come", "state.gained"),),
        ("tests/rollout/test_look_ahead.py",),
        "hand or left",
    ),
    "lost_success_counts_at_the_end": Fault(
        "A success that was lost again counts as one at the end",
        (("rollout/simulator.py", "Outcome(self.success_once, success_at_end", "Outcome(*[self.success_once] * 2"),),
        (PLAYING,),
        "lost",
    ),
    "other_checkpoints_episodes_kept": Fault(
        "Episodes of another checkpoint are kept as those of this one",
        (("results/addresses.py", '            "checkpoint": checkpoint_sha256,\n', ""),),
        (PLAYING,),
        "kept",
    ),
    "average_without_its_extra_networks": Fault(
        "The averaged policy leaves out the networks that an objective adds: its one-step policy stays as it began",
        (("models/targets.py", "        average_buffers(self.extra, extra, rate, gather)\n", ""),),
        (AVERAGE,),
        "part",
    ),
    "average_ranked_on_its_own_tokens": Fault(
        "A critic that shares its backbone ranks an averaged policy's samples on the averaged tokens, not on its own",
        (("agent/agent.py", "if self.average is not None and self.critic_backbone is None:", "if False:"),),
        (AVERAGE,),
        "ranked",
    ),
    "reference_filter_ignored": Fault(
        "A reference with a filter learns from all episodes",
        (
            (
                "robomimic/train.py",
                "filter_by_attribute=config.train.hdf5_filter_key",
                "filter_by_attribute=None",
            ),
        ),
        (REFERENCES,),
        "filter",
    ),
    "reference_sees_all_keys": Fault(
        "A reference sees every observation of the file, whatever low_dim says",
        (("robomimic/reference_data.py", "tuple(reference.low_dim) if reference.low_dim else None", "None"),),
        (REFERENCES,),
        "keys",
    ),
    "reference_draws_the_same_in_every_decision": Fault(
        "A reference that samples draws the same numbers in every decision of an episode",
        (("robomimic/algo.py", "query.episode, query.decision)", "query.episode)"),),
        ("tests/robomimic/test_judging_references.py",),
        "draws",
    ),
    "policy_draws_the_same_in_every_decision": Fault(
        "A policy that samples draws the same numbers in every decision of an episode",
        (("evaluate/policy.py", "query.episode, query.decision, stream", "query.episode, stream"),),
        (PLAYING, "tests/evaluate/test_evaluate.py", "tests/rollout/test_rollouts.py"),
    ),
    "points_from_the_start_states_of_results": Fault(
        "Points on the way are judged from the start states that results are reported from",
        (("evaluate/on_the_way.py", 'starts="tuning"', 'starts="test"'),),
        ("tests/evaluate/test_on_the_way.py",),
    ),
    "evidence_of_the_best_bet_in_hindsight": Fault(
        "The evidence of a sequential test is the capital of the best bet instead of the mean over fixed bets",
        (("results/anytime.py", "highest[..., None]).mean(axis=-1)", "highest[..., None]).max(axis=-1)"),),
        ("tests/results/test_anytime.py",),
    ),
    "queries_read_files": Fault(
        "A query over results may read and write files",
        (("results/query.py", "SET enable_external_access = false", "SET enable_external_access = true"),),
        ("tests/results/test_query.py",),
    ),
    "permuted_outcomes_stay": Fault(
        "Permuted outcomes stay with their episodes",
        (("data/outcomes.py", "zip(order, np.roll(order, 1), strict", "zip(order, order, strict"),),
        ("tests/data/test_outcomes.py",),
    ),
    "ended_failures_are_timeouts": Fault(
        "A failure that ends in a terminal is read as one that a timeout cut",
        (("data/flat_arrays.py", " or bool(demo.attrs.get(layout.ENDED, False))", ""),),
        ("tests/data/test_outcomes.py",),
    ),
    "a_start_in_the_middle_is_paid": Fault(
        "An episode that begins in the middle is rewarded for the stages that hold at its start",
        (("envs/task_env.py", "self._begin()\n        self._advance()\n", "self._begin()\n"),),
        ("tests/envs/test_control_regimes.py",),
    ),
    "half_fast_is_fast": Fault(
        "Operators of half_fast keep no time: they are fast at every cube",
        (("envs/demonstrators/regimes.py", "FAST if i in fast else SLOW", "FAST"),),
        ("tests/envs/test_control_regimes.py",),
    ),
    "reward_of_the_unlabelled": Fault(
        "Episodes that nobody labelled keep their true success",
        (("rewards/labels.py", "success=arrays.success & known,", "success=arrays.success,"),),
        (GIVEN,),
        "more_labels",
    ),
    "reward_shifted_every_frame": Fault(
        "Returns are shifted by a reward at every frame: an episode is paid for being long",
        (("rewards/scale.py", "shifted[ends] = reward[ends] - self.low\n", "shifted[ends] = shifted[ends]\n"),),
        (GIVEN,),
        "brought_to_returns or keeps_the_order",
    ),
    "reward_of_states_ends": Fault(
        "A reward of states stops where an episode does: a success earns less than standing near it",
        (("rewards/scale.py", "reward[ends] /= 1.0 - gamma", "reward[ends] /= 1.0"),),
        (GIVEN,),
        "goes_on",
    ),
    "near_misses_are_far": Fault(
        "The failures that look least like a success are called one",
        (("rewards/labels.py", "np.argsort(apart, kind", "np.argsort(-apart, kind"),),
        (GIVEN,),
        "near_misses",
    ),
    "preference_sign": Fault(
        "Bradley and Terry's model prefers the window with less reward",
        (("rewards/preferences.py", "sums[:, 0] - sums[:, 1], preferred", "sums[:, 1] - sums[:, 0], preferred"),),
        (LEARNED,),
        "closed_form",
    ),
    "transport_without_its_columns": Fault(
        "Sinkhorn's iterations fit the rows alone: every frame goes to its nearest",
        (("rewards/transport.py", "g = -np.log(columns) - _log_sum(kernel + f[:, None], axis=0)", "g = g + 0"),),
        (INFERRED,),
        "linear_program",
    ),
    "demonstration_compared_with_itself": Fault(
        "A demonstration's frames are compared with themselves, and all are perfect",
        (("rewards/demonstrations.py", "if e != without", "if e is not None"),),
        (INFERRED,),
        "not_with_itself",
    ),
    "pool_is_negative": Fault(
        "ORIL takes the pool for negative",
        (("rewards/discriminator.py", "F.softplus(pool).mean() - prior *", "F.softplus(pool).mean() - 0 *"),),
        (INFERRED,),
        "density_ratio",
    ),
    "iq_learn_forgets_the_future": Fault(
        "IQ-Learn's reward leaves out the value of what follows",
        (("rewards/iq_learn.py", "reward = q[at] - gamma * v[to]", "reward = q[at]"),),
        (INFERRED,),
        "table",
    ),
    "prior_of_csil_is_narrow": Fault(
        "CSIL's prior is the noise alone: what is far from the demonstrations is not neutral",
        (
            (
                "rewards/csil.py",
                "prior = (variance + noise**2)[:, None], 1.0 + noise**2",
                "prior = (variance + noise**2)[:, None], noise**2",
            ),
        ),
        (INFERRED,),
        "falls_back",
    ),
    "sides_of_the_discriminator": Fault(
        "The discriminator takes demonstrations for what the policy collects",
        (
            (
                "online/imitation/discriminator.py",
                "cross_entropy(logits[:half], logits[half:])",
                "cross_entropy(logits[half:], logits[:half])",
            ),
        ),
        (IMITATED,),
        "densities or adam",
    ),
    "gail_rewards_by_the_wrong_side": Fault(
        "GAIL rewards by log(1 - D) instead of -log(1 - D)",
        (("online/imitation/gail.py", "return F.softplus(", "return -F.softplus("),),
        (IMITATED,),
        "closed_form",
    ),
    "absorbing_state_left_out": Fault(
        "What comes after a terminal is worth nothing to DAC: its absorbing state has no reward",
        (("online/imitation/dac.py", "absorbing = True", "absorbing = False"),),
        (IMITATED,),
        "loop_sums",
    ),
    "discriminator_not_restored": Fault(
        "A run that goes on begins with a new discriminator",
        (("online/opening.py", "restore_beside(folder, IMITATION, online.imitation.source)", "pass"),),
        (IMITATED,),
        "killed",
    ),
    "disagreement_without_the_action": Fault(
        "DRIL's cost is how large the cloned actions are, not how they differ",
        (("online/imitation/dril.py", "((said - said.mean(0)) * actions)", "(said * actions)"),),
        (IMITATED,),
        "covariance",
    ),
    "highest_of_a_subset": Fault(
        "A target is the highest of the critics that were drawn and not the lowest",
        (("objectives/step.py", "order[:, :members]).amin(1)", "order[:, :members]).amax(1)"),),
        (OPTIMUM,),
        "lowest",
    ),
    "entropy_not_backed_up": Fault(
        "Soft actor-critic backs up the value without the entropy",
        (("objectives/sac.py", "return values - kappa * log_pi.detach() if entropy else values", "return values"),),
        (ORACLES,),
        "sac",
    ),
    "held_at_a_bound": Fault(
        "A residual policy is cut to the box with a cut that has no gradient: what reached a bound stays there",
        (("models/edits.py", "first = first + (first.clamp(-1, 1) - first).detach()", "first = first.clamp(-1, 1)"),),
        (EQUATIONS,),
        "residual-mse",
    ),
    "base_learns": Fault(
        "The policy that is to stay as it is learns",
        (("agent/agent.py", "self.action_head.requires_grad_(self.objective.trains_base)", "pass"),),
        ("tests/objectives/test_battery.py",),
        "takes_part and residual",
    ),
    "warm_up_by_what_nothing_trained": Fault(
        "The warm-up acts as the rounds after it: by networks that nothing has trained",
        (("online/collection.py", "self.first if warm_up else self.later", "self.later"),),
        ("tests/online/test_additions.py",),
        "warm_up",
    ),
}
