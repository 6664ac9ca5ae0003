"""Any command of robo-orl on observations as they are: what a policy becomes when nothing standardises them.

    python benchmarks/raw_observations.py train --policy bc --task lift --data lift.hdf5 --out runs/raw

The statistics that the run keeps say mean 0 and standard deviation 1, so `robo-orl eval runs/raw` needs nothing more.
No policy has this as a setting: ours are always standardised. robomimic's see raw observations unless they are told
otherwise, and its sequences cannot be told; this is the other way of making both sides equal.
"""

from __future__ import annotations

import sys
from typing import Any

from robo_orl.data.statistics import Moments, Statistics, joint_statistics
from robo_orl.engine import run_folder


def raw(*asked: Any) -> Statistics:
    """The statistics of the data, the observations' left out; actions keep their range."""
    found = joint_statistics(*asked)
    obs = {k: Moments(mean=[0.0] * len(m.mean), std=[1.0] * len(m.std)) for k, m in found.obs.items()}
    return found.model_copy(update={"obs": obs})


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    if run_folder.joint_statistics is not joint_statistics:
        sys.exit(
            "robo_orl.engine.run_folder takes its statistics from elsewhere now: this script would change nothing."
        )
    run_folder.joint_statistics = raw
    from robo_orl.cli.app import main

    main()
