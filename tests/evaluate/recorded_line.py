"""The scripted line as recorded episodes: a policy takes over where an operator was. Without a simulator."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripted_scene import Line, LineScene

from robo_orl.evaluate.stored_states import ReplayedEnv


class StoredLine(Line):
    """A line that begins where a recorded episode did."""

    def reset(self, start):
        super().reset(0)
        self.position = float(start.entry["position"][0])
        return self._obs()


@dataclass(frozen=True)
class StoredLineSpec:
    """With the fields of stored_states.StoredInstantsSpec."""

    task: Any
    path: Path
    bank: Any
    loop: str = "exact"
    view: Any = None
    history: int = 1
    keys: tuple = ()

    def make_env(self):
        return ReplayedEnv(StoredLine(LineScene(Path("/nowhere"))), self.path)

    def start_states(self):
        return self.bank
