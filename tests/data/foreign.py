"""Files as other people have them: each is made from a small file of lift that needs no simulator."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from synthetic import episode, write

from robo_orl.config.presets import load_task
from robo_orl.envs.registry import observation_sizes

LIFT = load_task("lift")
ENV = {
    "env_name": "Lift",
    "type": 1,
    "env_kwargs": {
        "robots": ["Panda"],
        "control_freq": 20,
        "controller_configs": {"type": "OSC_POSE", "control_delta": True},
    },
}
OURS_ON_DEMO = ("success", "operator", "grade", "start", "seed", "masks")


def lift_episode(length: int, success: bool, seed: int):
    """A made-up episode with the observation keys and sizes of lift."""
    draw = np.random.default_rng(seed)
    seen = {k: draw.normal(size=(length + 1, d)).astype(np.float32) for k, d in observation_sizes(LIFT).items()}
    obs, after = ({k: v[a : length + a] for k, v in seen.items()} for a in (0, 1))
    return episode(length, success, seed, obs=obs, next_obs=after)


def lift_file(path: Path) -> Path:
    """Five episodes of robo-orl's own: three successes, two timeouts."""
    outcomes = ((9, True), (12, False), (7, True), (15, True), (12, False))
    return write(path, [lift_episode(n, won, seed) for seed, (n, won) in enumerate(outcomes)], task=LIFT)


def demos(file: h5py.File) -> list[h5py.Group]:
    return [file["data"][name] for name in sorted(file["data"])]


def as_robomimic(file: h5py.File) -> None:
    """Nothing in it that robomimic does not write; done at the end of every episode, as its files have it."""
    for name in list(file["data"].attrs):
        if name not in ("env_args", "total"):
            del file["data"].attrs[name]
    file["data"].attrs["env_args"] = json.dumps(ENV)
    for demo in demos(file):
        for name in OURS_ON_DEMO:
            demo.attrs.pop(name, None)
        for name in ("stages", "start"):
            if name in demo:
                del demo[name]
        demo["dones"][-1] = 1


def replace_data(group: h5py.Group, name: str, values: np.ndarray) -> None:
    """Another content of a dataset."""
    del group[name]
    group[name] = values


def first_demo_lacks_key(file):
    del file["data/demo_0/obs/robot0_eef_quat"]


def late_key(file):
    for demo in demos(file)[1:]:
        demo["obs/extra"] = np.zeros((len(demo["actions"]), 2), np.float32)


def unused_kinds(file):
    """Depth images, booleans and text that no policy reads."""
    for demo in demos(file):
        frames = len(demo["actions"])
        demo["obs/agentview_depth"] = np.zeros((frames, 8, 8, 1), np.float32)
        demo["obs/touching"] = np.zeros(frames, bool)
        demo["obs/words"] = np.array(["pick"] * frames, "S8")
        demo["obs/robot0_joint_pos"] = np.full((frames, 7), np.nan)


def no_success(file):
    for demo in demos(file):
        demo.attrs["success"] = False
        demo["rewards"][:] = 0
        demo["dones"][:] = 0
        demo["stages"][:] = 0
    replace_data(file["mask"], "success", np.array([], "S16"))


def tail_after_success(file):
    """The last frame of a success five times more."""
    for demo in demos(file):
        if not demo["rewards"][-1]:
            continue
        for group in (demo, demo["obs"]):
            for name, data in list(group.items()):
                if isinstance(data, h5py.Dataset):
                    replace_data(group, name, np.concatenate((data[:], np.repeat(data[-1:], 5, axis=0))))
        demo.attrs["num_samples"] = len(demo["actions"])


def loud_actions(file):
    for demo in demos(file):
        demo["actions"][:, :3] = np.asarray(demo["actions"][:, :3]) * 3.75


def integer_rewards(file):
    for demo in demos(file):
        replace_data(demo, "rewards", np.asarray(demo["rewards"]).astype(np.uint8))


def wrong_counts(file):
    for demo in demos(file):
        demo.attrs["num_samples"] = int(demo.attrs["num_samples"]) + 100


def one_dimensional_key(file):
    for demo in demos(file):
        demo["obs/gripper_width"] = np.arange(len(demo["actions"]), dtype=np.float32)


def nested_obs(file):
    for demo in demos(file):
        inner = demo["obs"].create_group("policy")
        for name in [n for n in demo["obs"] if n != "policy"]:
            demo["obs"].move(name, f"policy/{name}")
        assert len(inner)


def deleted_demo(file):
    """An episode removed by hand, masks and total right."""
    frames = len(file["data/demo_4/actions"])
    del file["data/demo_4"]
    file["data"].attrs["total"] = int(file["data"].attrs["total"]) - frames
    for name in list(file["mask"]):
        replace_data(file["mask"], name, np.array([m for m in file["mask"][name][:] if m != b"demo_4"], "S16"))


def external_link(file):
    """An episode that lies in another file."""
    with h5py.File(Path(file.filename).with_name("elsewhere.hdf5"), "w") as other:
        file.copy("data/demo_1", other, "demo_1")
    del file["data/demo_1"]
    file["data/demo_1"] = h5py.ExternalLink("elsewhere.hdf5", "/demo_1")


def isaac_lab(file):
    as_robomimic(file)
    for demo in demos(file):
        del demo["states"]
        demo["states/articulation/robot/joint_position"] = np.zeros((len(demo["actions"]), 9), np.float32)
    nested_obs(file)


def raw_robosuite(file):
    as_robomimic(file)
    file["data"].attrs["env"] = "Lift"
    for demo in demos(file):
        del demo["obs"], demo["rewards"], demo["dones"]


def unnumbered(file):
    as_robomimic(file)
    for name in list(file["data"]):
        file["data"].move(name, name.replace("demo_", "traj_"))


def changed(path: Path, change: Callable[[h5py.File], None]) -> Path:
    """A file of lift with a change."""
    with h5py.File(lift_file(path), "r+") as file:
        change(file)
    return path


def both(*changes: Callable[[h5py.File], None]) -> Callable[[h5py.File], None]:
    """Several changes, one after the other."""

    def act(file: h5py.File) -> None:
        for change in changes:
            change(file)

    return act
