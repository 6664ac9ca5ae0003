import pytest
import toy_agents as toy

from robo_orl.config import SelectionConfig
from robo_orl.errors import UsageError

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
        "head that samples: action_head.kind flow, gaussian, gmm, bins",
    ),
    "best of N by no critic": (toy.policy("bc", selection={"num_samples": 4}), "needs a trained Q"),
    "ranking one sample": (toy.policy("bc", selection={"untrained_critic": True}), "num_samples above 1"),
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
