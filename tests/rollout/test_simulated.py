"""On a real simulator: the same episodes to the last bit from any pool, and a picture of one."""

import imageio_ffmpeg
import pytest

pytest.importorskip("robosuite", reason="needs the simulator")

from robo_orl.agent.agent import build_agent  # noqa: E402
from robo_orl.base.errors import RunError  # noqa: E402
from robo_orl.config import PolicyConfig  # noqa: E402
from robo_orl.config.presets import load_task  # noqa: E402
from robo_orl.cost.synthetic_step import task_spec  # noqa: E402
from robo_orl.evaluate.policy import AgentPolicy  # noqa: E402
from robo_orl.evaluate.scores import EvaluationPlan  # noqa: E402
from robo_orl.evaluate.success import roll_out  # noqa: E402
from robo_orl.results.store import parse_rows  # noqa: E402
from robo_orl.rollout.env_spec import TaskEnvSpec  # noqa: E402

POLICY = PolicyConfig.model_validate(
    {
        "name": "untrained",
        "action_head": {"kind": "flow", "chunk": 8, "execute": 8, "flow_steps": 2},
        "selection": {"num_samples": 3, "untrained_critic": True},
    }
)
TASK = load_task("lift").model_copy(update={"max_seconds": 1.6})


def episodes(out, workers, count, video=None):
    agent = build_agent(POLICY, task_spec(TASK), 7, 0.99, None, 0)
    plan = EvaluationPlan(POLICY, TASK, "c" * 64, 0, 0)
    actor = AgentPolicy(agent, 8, 0)
    result = roll_out(plan, actor, TaskEnvSpec(TASK), task_spec(TASK), count, workers, out, video, False)
    return result, parse_rows(out / "episodes.jsonl")


def test_episodes_are_equal_bit_by_bit_with_one_and_two_processes(tmp_path):
    result, one = episodes(tmp_path / "one", 1, 5)
    _, two = episodes(tmp_path / "two", 2, 5)
    assert [row.fingerprint for row in one] == [row.fingerprint for row in two]
    assert len({row.fingerprint for row in one}) == 5 and all(row.length == 32 for row in one)
    assert result.scores.loop == "exact" and result.speed.episodes_per_policy_call > 1


def test_states_are_evaluated_without_a_renderer(tmp_path, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "disable")
    assert len(episodes(tmp_path, 1, 1)[1]) == 1


def test_a_video_of_a_real_episode(tmp_path):
    try:
        episodes(tmp_path / "out", 1, 1, video=tmp_path / "videos")
    except RunError as error:
        pytest.skip(f"no renderer on this machine: {error}")
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "videos" / "lift-untrained-episode_000.mp4"))
    next(reader)
    assert sum(1 for _ in reader) == 33
