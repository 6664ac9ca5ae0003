"""robosuite's controller of joint velocities, mended: that of 1.5.2 cannot be made.

It assigns to `torque_compensation`, which is a property without a setter, and then reads from it both whether gravity
is compensated and by how much. Here it is always compensated, which is its default and what its comments say.
"""

from __future__ import annotations

import numpy as np


class Torques(np.ndarray):
    """Torques (n,) that are there: robosuite asks them whether they are."""

    def __bool__(self) -> bool:
        return True if self.size > 1 else bool(np.asarray(self))


def mend() -> None:
    """Have robosuite make the mended controller in this process. Done once; other controllers are untouched."""
    from robosuite.controllers.parts import generic

    broken = generic.JointVelocityController
    if broken.__name__ == "MendedJointVelocity":
        return

    class MendedJointVelocity(broken):
        @property
        def torque_compensation(self) -> Torques:
            return np.asarray(super().torque_compensation).view(Torques)

        @torque_compensation.setter
        def torque_compensation(self, wanted: bool) -> None:
            """Gravity is compensated whatever is wanted: robosuite gives no arm another setting."""

    generic.JointVelocityController = MendedJointVelocity
