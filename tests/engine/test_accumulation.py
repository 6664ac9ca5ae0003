"""Gradients added up from parts of a batch are those of the batch, for every shipped policy, or the policy says no."""

import json

import pytest
import tiny
import torch
from policy_files import one_an_objective

from robo_orl.base.errors import UsageError
from robo_orl.base.rng import Draws
from robo_orl.config import PolicyConfig, deep_merge
from robo_orl.engine.run_folder import build_run_agent, make_spec
from robo_orl.engine.task_data import make_windows, open_data
from robo_orl.engine.train import train

NEEDS_THE_WHOLE_BATCH = {"td3_bc", "iql_ddpg_bc"}


def gradients(agent, windows, parts: int) -> dict[str, torch.Tensor]:
    """As one process adds them up."""
    agent.zero_grad()
    for part in range(parts):
        loss, _ = agent(windows.batch(0, 0, part, parts, 16), Draws(0, 0, part, parts))
        (loss / parts).backward()
    return {name: p.grad.clone() for name, p in agent.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", one_an_objective())
def test_the_gradient_of_the_parts_is_that_of_the_batch(name, data):
    policy = tiny.shipped()[name]
    run = tiny.run_of(data, policy)
    opened = open_data(run)
    agent, windows = build_run_agent(run, make_spec(run, opened)).train(), make_windows(run, opened)
    in_parts = PolicyConfig.model_validate(deep_merge(run.policy.model_dump(), {"optim": {"accumulation": 4}}))
    if run.policy.objective.name in NEEDS_THE_WHOLE_BATCH or name in NEEDS_THE_WHOLE_BATCH:
        with pytest.raises(UsageError, match="mean over the whole batch"):
            build_run_agent(run.model_copy(update={"policy": in_parts}), make_spec(run, opened))
        return
    whole, added = gradients(agent, windows, 1), gradients(agent, windows, 4)
    assert whole.keys() == added.keys()
    for key, gradient in whole.items():
        torch.testing.assert_close(added[key], gradient, rtol=1e-4, atol=1e-5 * gradient.abs().max().item() + 1e-9)


def test_a_run_in_parts_is_the_run(data, tmp_path):
    case = deep_merge(tiny.CASES["iql_shared"], {"action_head": {"kind": "flow"}})  # it draws noise
    for name, parts in (("whole", 1), ("parts", 4)):
        train(tiny.run_of(data, case | {"optim": {"accumulation": parts}}), tmp_path / name, progress=False)
    rows = {n: [json.loads(r) for r in (tmp_path / n / "metrics.jsonl").open()] for n in ("whole", "parts")}
    for ours, theirs in zip(rows["parts"], rows["whole"], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert ours["critic/q"] == pytest.approx(theirs["critic/q"], rel=1e-4, abs=1e-6)
        assert ours["optim/grad_norm"] == pytest.approx(theirs["optim/grad_norm"], rel=1e-4)


def test_parts_that_do_not_divide_the_batch_are_one_sentence(data, tmp_path):
    with pytest.raises(UsageError, match="accumulation 3 does not divide the 8 pairs"):
        train(tiny.run_of(data, {"optim": {"accumulation": 3}}), tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "config.json").exists()
