"""Run by a Python that has LeRobot: `read FOLDER` says in JSON what LeRobot sees, `write FOLDER` makes a data set.

`play FILE` carries out stored actions in LeRobot's environment of our tasks.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.utils import dataset_to_policy_features

NAMES = ["x", "y", "z", "gripper"]


def read(root):
    """The numbers and pictures that LeRobot gives, a chunk of actions among them."""
    fps = json.loads((root / "meta/info.json").read_text())["fps"]
    data = LeRobotDataset("local/data", root=root, delta_timestamps={"action": [i / fps for i in range(4)]})
    items = [data[i] for i in range(len(data))]
    tensors = {key for key, value in items[0].items() if isinstance(value, torch.Tensor)}
    seen = {key: np.stack([np.asarray(item[key]) for item in items]) for key in tensors}
    np.savez(root.parent / "seen.npz", **seen)
    policy = dataset_to_policy_features(data.meta.features)
    return {
        "frames": len(data),
        "episodes": data.num_episodes,
        "tasks": [item["task"] for item in items],
        "stats": {key: sorted(values) for key, values in data.meta.stats.items()},
        "policy": {key: [value.type.value, list(value.shape)] for key, value in policy.items()},
    }


def write(root):
    """Three episodes of two tasks: a state with names, actions within [-1, 1], a video, pictures inside the table."""
    features = {
        "observation.state": {"dtype": "float32", "shape": (4,), "names": NAMES},
        "action": {"dtype": "float32", "shape": (4,), "names": NAMES},
        "observation.images.top": {"dtype": "video", "shape": (64, 64, 3), "names": ["height", "width", "channels"]},
        "observation.images.wrist": {"dtype": "image", "shape": (32, 32, 3), "names": ["height", "width", "channels"]},
        "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
        "next.success": {"dtype": "bool", "shape": (1,), "names": None},
        "note": {"dtype": "string", "shape": (1,), "names": None},
    }
    data = LeRobotDataset.create(
        "local/data", fps=10, features=features, root=root, robot_type="toy_arm", vcodec="h264"
    )
    draw = np.random.default_rng(0)
    for episode, length in enumerate((12, 9, 15)):
        for t in range(length):
            data.add_frame(frame(draw, episode, t, t == length - 1))
        data.save_episode()
    data.finalize()
    return {"episodes": data.num_episodes}


def frame(draw, episode, t, last):
    """One frame; the pictures say episode and time by their colours."""
    y, x = np.mgrid[:64, :64]
    top = np.stack([x * 3, np.full_like(y, 20 * t), np.full_like(y, 80 * episode)], -1).astype(np.uint8)
    return {
        "observation.state": draw.normal(size=4).astype(np.float32),
        "action": draw.uniform(-1, 1, 4).astype(np.float32),
        "observation.images.top": top,
        "observation.images.wrist": top[:32, :32],
        "next.reward": np.array([float(last)], np.float32),
        "next.success": np.array([last]),
        "note": "nothing",
        "task": ["lift the cube", "stack the cubes"][episode % 2],
    }


def play(file):
    """The episode of stored actions (T, 7), made as lerobot-eval makes its environments."""
    from lerobot.envs.factory import make_env
    from lerobot.envs.utils import env_to_policy_features, preprocess_observation
    from lerobot_env_robo_orl import RoboOrlEnv

    config = RoboOrlEnv(task="lift", cameras="agentview", size=32)
    env = make_env(config, n_envs=1)["robo_orl"][0]
    observation, _ = env.reset(seed=[0])
    shapes, infos = [], []
    for action in np.load(file):
        shapes.append({key: list(value.shape) for key, value in preprocess_observation(observation).items()})
        observation, _, terminated, _, info = env.step(action[None])
        infos.append(bool(info["final_info"]["is_success"][0]) if "final_info" in info else False)
        if terminated.any():
            break
    features = {key: list(value.shape) for key, value in env_to_policy_features(config).items()}
    picture = env.envs[0].render().shape
    env.close()
    return {"success": infos, "shapes": shapes[0], "features": features, "fps": config.fps, "picture": picture}


if __name__ == "__main__":
    print(json.dumps({"read": read, "write": write, "play": play}[sys.argv[1]](Path(sys.argv[2]))))
