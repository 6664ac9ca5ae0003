import pytest
import toy_agents as toy

from robo_orl.base.errors import UsageError
from robo_orl.base.rng import Draws
from robo_orl.config import SelectionConfig

REFUSED = {
    "qc on a deterministic head": (toy.policy("qc", head="l1"), "set action_head.kind to flow"),
    "a critic without a section": (toy.policy("iql").model_copy(update={"critic": None}), "give the policy"),
    "a critic that nothing trains": (toy.policy("bc", critic={"topology": "shared"}), "trains no critic"),
    "bootstrapping without a target": (toy.policy("iql", critic={"target": "none"}), "must be head_ema or full_ema"),
    "a target that nothing uses": (toy.policy("mc_awr", critic={"target": "head_ema"}), "must be none"),
    "a slow copy of a frozen backbone": (
        toy.policy("qc", topology="frozen", critic={"target": "full_ema"}),
        "set critic.target to head_ema",
    ),
    "best of identical samples": (
        toy.policy("bc", head="l1", selection={"num_samples": 4}),
        "head that samples: set action_head.kind to flow, gaussian, gmm, bins",
    ),
    "best of N by no critic": (toy.policy("bc", selection={"num_samples": 4}), "needs a trained Q"),
    "ranking one sample": (toy.policy("bc", selection={"untrained_critic": True}), "num_samples above 1"),
    "no target beside a tau": (
        toy.shipped("iql", critic={"target": "none"}),
        "must be head_ema",
    ),
    "the best of one": (toy.policy("qc", selection={"num_samples": 1}), "set selection.num_samples above 1"),
    "choosing extraction, the best of one": (
        toy.policy("iql", objective={"extraction": "best_of_n"}),
        "set selection.num_samples above 1",
    ),
    "a subgoal, the best of one": (
        toy.shipped("sharsa", selection={"num_samples": 1}),
        "set selection.num_samples above 1",
    ),
    "a minimum of one": (toy.policy("qc", critic={"ensemble": 1, "aggregate": "min"}), "ensemble is 1: remove it"),
    "steps of no flow": (toy.policy("bc", head="l1", action_head={"flow_steps": 5}), "remove action_head.flow_steps"),
    "a backup's steps of no flow": (
        toy.policy("qc", head="gaussian", objective={"params": {"flow_steps": 5}}),
        "remove objective.params.flow_steps",
    ),
    "an unknown objective": (toy.policy("iqll"), "Did you mean 'iql'"),
    "an unknown parameter": (toy.policy("iql", objective={"params": {"expectil": 0.7}}), "Did you mean 'expectile'"),
    "a parameter out of range": (toy.policy("iql", objective={"params": {"expectile": 1.5}}), "less than 1"),
    "an unknown backbone": (toy.policy("bc", backbone={"kind": "transfomer"}), "Did you mean 'transformer'"),
}


@pytest.mark.parametrize(("config", "sentence"), REFUSED.values(), ids=REFUSED)
def test_parts_that_do_not_go_together_are_refused_in_one_sentence(config, sentence):
    with pytest.raises(UsageError, match=sentence) as error:
        toy.agent(config)
    assert "\n" not in str(error.value)


def test_a_selection_that_the_trained_agent_cannot_make_is_refused():
    with pytest.raises(UsageError, match="needs a trained Q"):
        toy.agent(toy.policy("bc")).select_by(SelectionConfig(num_samples=2))


def test_subgoals_are_chosen_among_with_any_action_head():
    learner = toy.agent(toy.shipped("sharsa", action_head={"kind": "l1"}))
    assert learner.act(toy.observation(3), Draws(0, 0)).shape == (3, toy.CHUNK, toy.ACTION_DIM)
