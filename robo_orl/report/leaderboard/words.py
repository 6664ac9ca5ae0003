"""What the names on the leaderboard mean, for somebody who has read nothing: regimes, families, topologies, tiers."""

from __future__ import annotations

from typing import Any

from robo_orl.report.contents import has_critic, topology

REGIMES = {
    "ph": "Proficient: one scripted expert with little noise; nearly every demonstration succeeds. In robomimic one "
    "human teleoperator.",
    "mh": "Mixed operators: six scripted operators, two better, two okay, two worse, with pauses, detours, missed "
    "grasps and drops. In robomimic six human teleoperators of these grades.",
    "mg": "Mixed competence with systematic faults: six scripted operators, each with a bad habit of its own (it "
    "misses grasps, lets go early, idles, gives up, puts things in the wrong place). This is not robomimic's mg, "
    "which are rollouts of reinforcement-learning agents stored during their training: numbers on robomimic's mg do "
    "not carry over.",
    "stitch": "Pieces only: each demonstration is competent at half of the objects and fumbles the others, so that "
    "whole successes are rare and a policy must join the good pieces.",
    "paired": "Good and bad from the same start: a demonstration of an expert, then one that fails, from every start "
    "state. In robomimic one human operator does both on can.",
    "half_fast": "Half fast: every demonstration succeeds in the same time, fast at half of the objects and slow at "
    "the others. Nothing is to be filtered; who is faster than the data has joined their fast halves.",
    "never_whole": "Never whole: no demonstration goes from a start to success. Pieces that begin in the middle solve "
    "each stage, some of them, and an early reward misleads.",
    "play": "Play: wandering without a goal, for coverage.",
}
FAMILIES = {
    "cloning": "imitates every demonstration",
    "filtered cloning": "imitates the demonstrations that succeeded, or scored highest",
    "conditioned cloning": "imitates every demonstration, told how it ended, and is asked for success",
    "weighted by values": "imitates more where a critic says that an action was better than usual",
    "conditioned on values": "imitates, told whether a critic finds the action better than usual",
    "best of samples": "imitates, and lets a critic choose among samples when it acts",
    "climbs values": "follows the critic's gradient, held near the data",
    "on-policy": "learns from its own episodes alone, by the weights that made them",
    "oracle": "knows what no policy can know: a bound, and no policy",
    "other": "an objective that this leaderboard does not know",
}
OBJECTIVES = {
    "bc": "cloning", "bc_transformer": "cloning", "bc_rnn": "cloning", "filtered_bc": "filtered cloning",
    "top_bc": "filtered cloning", "return_conditioned": "conditioned cloning", "mc_awr": "weighted by values",
    "iql": "weighted by values", "awac": "weighted by values", "crr": "weighted by values", "mpo": "weighted by values",
    "recap": "conditioned on values", "sarsa_bon": "best of samples", "sharsa": "best of samples",
    "idql": "best of samples", "dqc": "best of samples", "qc": "best of samples", "bcq": "best of samples",
    "fql": "climbs values", "qc_fql": "climbs values", "td3_bc": "climbs values", "sac": "climbs values",
    "cql": "climbs values", "cal_ql": "climbs values",
    "residual": "climbs values", "edit": "best of samples", "dsrl": "climbs values", "oracle_competent": "oracle",
    **dict.fromkeys(("ppo", "fpo", "reinflow", "reinforce", "grpo"), "on-policy"),
}  # fmt: skip
TOPOLOGIES = {
    "no critic": "no trained critic has a say",
    "shared": "the critic reads the policy's backbone, and its loss trains that backbone too",
    "shared_detached": "the critic reads the policy's backbone, and its loss stops there",
    "frozen": "policy and critic read a backbone that is not trained",
    "separate_small": "the critic has a smaller backbone of its own",
    "separate": "the critic has a backbone of its own, as large as the policy's",
}
TIERS = {
    "self": "the records verify: every number is computed again from its episodes; the episodes themselves are claimed",
    "rerun": "somebody else replayed episodes from the checkpoint, with the same outcomes and lengths",
}
EXTRACTIONS = {"awr": "weighted by values", "ddpg_bc": "climbs values", "best_of_n": "best of samples",
               "advantage_condition": "conditioned on values", "distil": "climbs values"}  # fmt: skip


def family(config: dict[str, Any]) -> str:
    """The objective family of a policy or reference, by its objective and its extraction where that is set."""
    objective = config.get("objective") or {}
    name = config.get("algorithm") or objective.get("name", "bc")
    extraction = objective.get("extraction")
    kind = extraction.get("kind") if isinstance(extraction, dict) else extraction
    if kind in EXTRACTIONS:
        return EXTRACTIONS[kind]
    return OBJECTIVES.get(name, "other")


def layout(config: dict[str, Any]) -> str:
    """The topology of the critic, "no critic", or of a reference that of its library."""
    if "library" in config:
        return "no critic" if family(config) == "cloning" else "separate"
    return topology(config) or "no critic"


def facts(config: dict[str, Any]) -> str:
    """A sentence about a policy from its configuration: head, objective, critic, and how it acts."""
    if "library" in config:
        return f"{config['library']}'s own {config['algorithm']}, trained by its classes under the same protocol."
    head = config.get("action_head") or {}
    selection, objective = config.get("selection") or {}, config.get("objective") or {}
    parts = [f"{head.get('kind', 'l1')} action head over chunks of {head.get('chunk', 10)} actions",
             f"objective {objective.get('name', 'bc')}, which {FAMILIES[family(config)]}"]  # fmt: skip
    if has_critic(config):
        parts.append(TOPOLOGIES.get(topology(config) or "", ""))
    samples = selection.get("num_samples") or 1
    if samples > 1:
        judge = "an untrained critic (a control)" if selection.get("untrained_critic") else "the critic"
        parts.append(f"acts by the best of {samples} samples, by {judge}")
    if selection.get("noise_scale") is not None and selection["noise_scale"] != 1:
        parts.append(f"samples start from {selection['noise_scale']:g} of the noise")
    if selection.get("acting") and selection["acting"] != "as_trained":
        parts.append(f"acts by {selection['acting']}")
    text = "; ".join(part for part in parts if part)
    return f"{text[0].upper()}{text[1:]}."
