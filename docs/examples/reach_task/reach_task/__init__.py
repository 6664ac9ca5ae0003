"""A point that must touch a target and come to rest there: an environment with the interface of gymnasium."""

import numpy as np


class Box:
    """As gymnasium.spaces.Box, which is fine too: what is asked of an action space is shape, low and high."""

    shape, low, high = (2,), np.array([-0.1, -0.1]), np.array([0.1, 0.1])  # metres a decision


class Reach:
    """arena: metres from the middle to the wall. It could as well inherit from gymnasium.Env."""

    action_space = Box()
    control_hz = 10  # checked against that of the task

    def __init__(self, arena: float = 1.0):
        self.arena = arena

    def reset(self, seed=None):
        """Begin an episode; the seed decides everything."""
        draw = np.random.default_rng(seed)
        self.place, self.target = draw.uniform(-self.arena, self.arena, (2, 2))
        self.moved = np.zeros(2)
        return self._observation(), self._info()

    def step(self, action):
        """Move by the action (2,)."""
        before = self.place
        self.place = np.clip(self.place + action, -self.arena, self.arena)
        self.moved = self.place - before
        info = self._info()
        return self._observation(), 0.0, info["success"], False, info

    def _observation(self):
        return {"place": self.place, "target": self.target, "camera_image": self.render()}

    def _info(self):
        """A bool for each stage that a task may list, and for success."""
        near = bool(np.linalg.norm(self.target - self.place) < 0.1)
        return {"touched": near, "success": near and bool(np.linalg.norm(self.moved) < 0.02)}

    def render(self):
        """(16, 16, 3) uint8: the target in red, the point in green."""
        picture = np.zeros((16, 16, 3), np.uint8)
        for colour, (x, y) in enumerate((self.target, self.place)):
            column, row = ((np.array([x, y]) / self.arena + 1) * 7.99).astype(int)
            picture[row, column, colour] = 255
        return picture

    def snapshot(self):
        """For searches in the environment, which `selection.look_ahead` makes."""
        return self.place, self.target, self.moved

    def resume(self, state):
        """Go on from what `snapshot` gave."""
        self.place, self.target, self.moved = state
