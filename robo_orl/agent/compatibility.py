"""Checks that the parts of a policy go together: every refusal is one sentence with its remedy."""

from __future__ import annotations

from robo_orl.base.errors import UsageError
from robo_orl.config import ActionHeadConfig, CriticConfig, PolicyConfig, SelectionConfig
from robo_orl.config.presets import JOIN, written_name
from robo_orl.models.action_heads import ACTION_HEADS, ActionHead
from robo_orl.objectives import Objective


def check_policy(policy: PolicyConfig, objective: Objective, head: type[ActionHead]) -> None:
    """UsageError where objective, critic and action head cannot work together, or an option would do nothing.

    The sentence names the policy, and of a composed one the variants that may be left out.
    """
    try:
        _check_policy(policy, objective, head)
    except UsageError as error:
        base, *variants = written_name("policies", policy.name).split(JOIN)
        remedy = f" Or leave out {' or '.join(f'+{variant}' for variant in variants)}." if variants else ""
        raise UsageError(f"policy '{JOIN.join([base, *variants])}': {error}{remedy}") from None


def _check_policy(policy: PolicyConfig, objective: Objective, head: type[ActionHead]) -> None:
    check_action_head(policy.action_head, head, policy.selection if objective.values_actions else SelectionConfig())
    check_flow_steps(policy, objective, head)
    check_vlm(policy, head)
    check_cached_tokens(policy)
    if (objective.samples or objective.extraction.samples) and not head.stochastic:
        raise UsageError(
            f"Objective {_with_extraction(policy, objective.samples)} samples actions, and the action head "
            f"'{policy.action_head.kind}' is deterministic: set action_head.kind to {_one_of('stochastic')}."
        )
    check_critic_section(policy, objective)
    if policy.optim.accumulation > 1 and needs_whole_batch(objective):
        raise UsageError(
            f"Objective '{policy.objective.name}' divides by a mean over the whole batch, which is not known while its "
            "parts are read: set optim.accumulation to 1 and, for memory, backbone.checkpointing to true."
        )
    objective.check(policy, head)
    objective.extraction.check(policy, head)
    check_params(policy, objective)
    if objective.heads:
        check_values(policy, objective)
    elif policy.optim.critic_lr is not None:
        raise UsageError(f"Objective '{policy.objective.name}' trains no critic: remove optim.critic_lr.")


def check_cached_tokens(policy: PolicyConfig) -> None:
    """UsageError where a policy that sees pictures is to keep the tokens of every frame while it learns online."""
    if policy.observation.cameras and policy.online is not None and policy.online.trains == "cached":
        raise UsageError(
            "online.trains 'cached' keeps the tokens of every frame in memory, and a policy that sees pictures has too "
            "many of them: set online.trains to head."
        )


def check_critic_section(policy: PolicyConfig, objective: Objective) -> None:
    """UsageError where a policy lacks a critic that its objective trains, or has one that nothing trains."""
    name = policy.objective.name
    if objective.heads and policy.critic is None:
        raise UsageError(f"Objective '{name}' trains a critic: give the policy '{policy.name}' a 'critic' section.")
    if not objective.heads and policy.critic is not None and not policy.selection.untrained_critic:
        raise UsageError(
            f"Objective '{name}' trains no critic: remove the 'critic' section of the policy '{policy.name}'."
        )


def check_values(policy: PolicyConfig, objective: Objective) -> None:
    """UsageError where the extraction, the selection or the slow copy does not fit the values that are trained."""
    name, critic = policy.objective.name, policy.critic
    if objective.extraction.reads == "q" and "q" not in objective.heads:
        raise UsageError(
            f"Objective '{name}' trains no Q here, and extraction '{policy.objective.extraction.kind}' reads one: set "
            "objective.extraction to awr or advantage_condition."
        )
    if (objective.chooses or objective.extraction.chooses) and policy.selection.num_samples == 1:
        raise UsageError(
            f"The policy of objective {_with_extraction(policy, objective.chooses)} acts by the best of "
            "selection.num_samples candidates, and the best of 1 is cloning: set selection.num_samples above 1."
        )
    if objective.bootstraps and critic.target == "none":
        raise UsageError(f"Objective '{name}' bootstraps: critic.target must be head_ema or full_ema, not none.")
    if not objective.bootstraps and critic.target != "none":
        raise UsageError(f"Objective '{name}' regresses to Monte-Carlo returns: critic.target must be none.")
    check_critic(critic, objective)
    if critic.topology == "frozen" and policy.backbone.entropy == "control":
        raise UsageError("A frozen backbone's attention cannot be controlled: set backbone.entropy to log or off.")
    if critic.target == "full_ema" and critic.topology == "frozen":
        raise UsageError("A frozen backbone is its own slow copy: set critic.target to head_ema.")


def needs_whole_batch(objective: Objective) -> bool:
    """True where the loss cannot be added up from parts of a batch."""
    return objective.whole_batch or objective.extraction.whole_batch


def check_params(policy: PolicyConfig, objective: Objective) -> None:
    """UsageError where a parameter that the policy file gives does nothing beside another one's value."""
    config = policy.objective
    given = config.params | (config.extraction.params if config.extraction else {})
    for part in (objective, objective.extraction):
        for name, (other, value) in part.idle_beside.items():
            if name in given and getattr(part.params, other) == value:
                raise UsageError(f"The objective's '{name}' does nothing where '{other}' is {_said(value)}: remove it.")


def _said(value: float | str) -> str:
    return f"'{value}'" if isinstance(value, str) else f"{value:g}"


def check_vlm(policy: PolicyConfig, head: type[ActionHead]) -> None:
    """UsageError where a vlm backbone has tokens that the action head does not read, or no loss trains it."""
    backbone, kind, chunk = policy.backbone, policy.action_head.kind, policy.action_head.chunk
    if head.reads_queries and backbone.action_queries != chunk:
        raise UsageError(
            f"The action head '{kind}' reads one action query per step of the chunk: set backbone.kind to vlm and "
            f"backbone.action_queries to {chunk}."
        )
    if backbone.action_queries and not head.reads_queries:
        raise UsageError(
            f"The action head '{kind}' reads no action queries: set backbone.action_queries to 0, or action_head.kind "
            f"to {_one_of('reads_queries')}."
        )
    if backbone.layers > 1 and not head.reads_layers:
        raise UsageError(
            f"The action head '{kind}' reads the last layer only: set backbone.layers to 1, or action_head.kind to "
            f"{_one_of('reads_layers')}."
        )
    topology = policy.critic.topology if policy.critic else None
    if backbone.stop_expert_gradient and topology != "shared":
        raise UsageError(
            "With backbone.stop_expert_gradient only a critic of topology 'shared' trains the vlm: choose it, or set "
            "backbone.frozen to true instead."
        )
    if backbone.cache and topology in ("separate", "separate_small"):
        raise UsageError("With backbone.cache there are no images for a critic's own vlm: choose another topology.")
    if topology == "frozen" and (backbone.lora is not None or backbone.action_queries):
        raise UsageError("Topology 'frozen' trains no backbone: leave backbone.lora and backbone.action_queries out.")


def check_critic(critic: CriticConfig, objective: Objective) -> None:
    """UsageError where a setting of the critic is not at its default and would do nothing."""
    no_q, topology = "q" not in objective.heads, f"topology is {critic.topology}"
    idle = {  # setting -> (whether it does nothing, why)
        "ensemble": (no_q, "the objective trains no Q"),
        "aggregate": (no_q or critic.ensemble == 1, "the objective trains no Q" if no_q else "ensemble is 1"),
        "tau": (critic.target == "none" and not objective.slow_policy, "there is no slow copy"),
        "bins": (critic.loss != "hl_gauss", f"loss is {critic.loss}"),
        "value_range": (critic.loss == "mse", "loss is mse"),
        "small_size": (critic.topology != "separate_small", topology),
        "trunk_gradient": (critic.topology != "shared", topology),
    }
    for name, (does_nothing, reason) in idle.items():
        default = CriticConfig.model_fields[name].default
        if does_nothing and getattr(critic, name) != default:
            raise UsageError(f"critic.{name} does nothing here, {reason}: remove it, or set it to {default}.")


def check_action_head(config: ActionHeadConfig, head: type[ActionHead], selection: SelectionConfig) -> None:
    """UsageError where a setting belongs to another head, or best-of-N would rank copies of one chunk."""
    fields = ActionHeadConfig.model_fields
    optional = [name for name, field in fields.items() if field.default is None]  # null where a head has none
    for name in (n for n in optional if getattr(config, n) is not None):
        if name not in head.options:
            raise UsageError(f"The action head '{config.kind}' has no '{name}': set action_head.{name} to null.")
    if config.acting is not None and config.acting not in head.acting:
        raise UsageError(
            f"The action head '{config.kind}' cannot act by '{config.acting}': set action_head.acting to "
            f"{' or '.join(head.acting)}."
        )
    if config.acting == "mode" and selection.acting is None and selection.num_samples > 1:
        raise UsageError(
            "selection.num_samples above 1 ranks samples, and action_head.acting 'mode' gives one chunk: set "
            "action_head.acting to null."
        )


def check_flow_steps(policy: PolicyConfig, objective: Objective, head: type[ActionHead]) -> None:
    """UsageError where flow steps are set and nothing integrates a flow."""
    kind, default = policy.action_head.kind, ActionHeadConfig.model_fields["flow_steps"].default
    if policy.critic is not None and policy.critic.target_flow_steps is not None:
        if not (head.integrates and objective.samples):
            raise UsageError(
                f"'{policy.objective.name}' with the action head '{kind}' integrates no flow in a training step: "
                "remove critic.target_flow_steps."
            )
        if policy.objective.params.get("flow_steps") is not None:
            raise UsageError("critic.target_flow_steps is in place of objective.params.flow_steps: remove one of them.")
    if head.integrates:
        return
    if policy.objective.params.get("flow_steps") is not None:
        raise UsageError(f"The action head '{kind}' integrates no flow: remove objective.params.flow_steps.")
    if policy.action_head.flow_steps != default and objective.values_actions:  # else the subgoals' flow has them
        raise UsageError(f"The action head '{kind}' integrates no flow: remove action_head.flow_steps.")


def _with_extraction(policy: PolicyConfig, of_objective: bool) -> str:
    """The objective in quotes; with the policy file's extraction, where the need is not the objective's own."""
    config = policy.objective.extraction
    suffix = "" if of_objective or config is None else f" with extraction '{config.kind}'"
    return f"'{policy.objective.name}'{suffix}"


def _one_of(trait: str) -> str:
    """The names of the heads that have a trait, as words."""
    names = [name for name, head in ACTION_HEADS.items() if getattr(head, trait)]
    return " or ".join((", ".join(names[:-1]), names[-1]) if len(names) > 1 else names)


def check_selection(selection: SelectionConfig, objective: Objective, head: ActionHead | type[ActionHead]) -> None:
    """UsageError where decoding does not fit the head, or best-of-N has one candidate or no critic to rank several."""
    check_decoding(selection, objective, head)
    if selection.untrained_critic and selection.num_samples == 1:
        raise UsageError("selection.untrained_critic ranks samples: set selection.num_samples above 1.")
    if selection.look_every != 1 and not selection.look_ahead:
        raise UsageError(
            "selection.look_every says how often selection.look_ahead searches: set that, or leave it out."
        )
    if selection.look_ahead and selection.num_samples == 1:
        raise UsageError("selection.look_ahead ranks samples: set selection.num_samples above 1.")
    if selection.look_ahead and selection.untrained_critic:
        raise UsageError(
            "selection.look_ahead ranks samples in the simulator, selection.untrained_critic by a critic: leave one of "
            "them out."
        )
    if selection.num_samples == 1:
        return
    if not head.stochastic and objective.values_actions:  # subgoals differ with any head
        raise UsageError(
            f"selection.num_samples above 1 needs a head that samples: set action_head.kind to {_one_of('stochastic')}."
        )
    if "q" not in objective.heads and not selection.untrained_critic and not selection.look_ahead:
        raise UsageError(
            "selection.num_samples above 1 needs a trained Q: choose an objective that has one, or set "
            "selection.untrained_critic for the control, or selection.look_ahead for the oracle."
        )


def check_decoding(selection: SelectionConfig, objective: Objective, head: ActionHead | type[ActionHead]) -> None:
    """UsageError where a setting of decoding does nothing, or leaves best-of-N copies of one chunk to rank."""
    acting = selection.acting
    if acting == "random" and selection != SelectionConfig(acting="random"):
        raise UsageError("selection.acting 'random' reads no network: leave everything else of selection out.")
    if acting == "base" and (selection.num_samples > 1 or not objective.values_actions):
        remedy = "selection.num_samples to 1" if objective.values_actions else "selection.acting to null"
        raise UsageError(
            f"selection.acting 'base' is one sample of the action head, which nothing ranks: set {remedy}."
        )
    if acting not in (None, "random", "base", *head.acting):
        ways = [f"set selection.acting to {way}" for way in (" or ".join(head.acting),) if way]
        remedy = ways or ["set selection.noise_scale to 0" if head.integrates else "leave selection.acting out"]
        raise UsageError(f"The action head cannot act by '{acting}': {remedy[0]}.")
    if (selection.noise_scale != 1 or selection.noise_seed is not None) and not head.integrates:
        setting, verb = ("noise_scale", "scales") if selection.noise_scale != 1 else ("noise_seed", "fixes")
        raise UsageError(
            f"selection.{setting} {verb} the noise that a flow starts from, and the action head has no flow: leave it "
            f"out, or set action_head.kind to {_one_of('integrates')}."
        )
    if selection.noise_seed is not None and selection.noise_scale == 0:
        raise UsageError("selection.noise_seed draws a noise that selection.noise_scale 0 takes away: leave one out.")
    if selection.num_samples > 1 and selection.deterministic and objective.values_actions:  # subgoals still differ
        cause = "selection.acting 'mode'" if acting == "mode" else "selection.noise_scale 0"
        raise UsageError(
            f"selection.num_samples above 1 ranks samples, and {cause} gives copies of one chunk: set "
            "selection.num_samples to 1, or leave the other out."
        )
