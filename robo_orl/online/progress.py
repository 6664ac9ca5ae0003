"""What a person sees of learning online: a bar of environment steps, and a line for each point."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from robo_orl.base.text import as_label
from robo_orl.online.replay import Replay

RECENT = 20  # episodes


class OnlineProgress:
    """A context manager: the bar is there within it."""

    def __init__(self, task: str, steps: int, enabled: bool):
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.console = Console(stderr=True)
        self._bar = Progress(*columns, console=self.console, disable=not enabled, transient=True)
        self._steps = self._bar.add_task(as_label(f"{task}, environment steps"), total=steps)
        self._task, self._enabled, self._updates, self._recent = task, enabled, 0, ""

    def __enter__(self) -> OnlineProgress:
        self._bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.__exit__(*error)

    def resumed(self, replay: Replay, updates: int) -> None:
        """A run goes on with so many updates made."""
        self._updates = updates
        self.collected(replay)

    def updated(self, updates: int) -> None:
        """One more update."""
        self._updates = updates
        if updates % 50 == 0:
            self._show()

    def collected(self, replay: Replay) -> None:
        """A round is in the replay."""
        recent = replay.episodes[-RECENT:]
        successes = sum(episode.success for episode in recent)
        self._recent = f", {successes} of the last {len(recent)} episodes succeed" if recent else ""
        self._bar.update(self._steps, completed=replay.frames)
        self._show()

    def _show(self) -> None:
        self._bar.update(
            self._steps, description=as_label(f"{self._task}: {self._updates} updates{self._recent}; environment steps")
        )

    @contextmanager
    def judging(self, words: str, episodes: int) -> Iterator[Callable[[int, int], None]]:
        """A bar of the episodes of a point; yields what takes the successes and episodes so far."""
        line = self._bar.add_task(as_label(words), total=episodes)

        def told(successes: int, done: int) -> None:
            self._bar.update(line, completed=done, description=as_label(f"{words}: {successes}"))

        try:
            yield told
        finally:
            self._bar.remove_task(line)

    def judged(self, point: dict[str, Any]) -> None:
        """A line that stays."""
        if self._enabled:
            score = point["success"]
            low, high = 100 * score["low"], 100 * score["high"]
            where = f"{point['at']:>9,} steps" if "at" in point else "the run itself"
            text = f"{where}  {score['k']} of {score['n']} (95 % interval {low:.0f} to {high:.0f} %)"
            changed = "" if "at" not in point else "  the switch"
            if point.get("at"):
                changed = f"  lost {point['lost']}, won {point['won']}"
            self.console.print(text + changed, highlight=False, soft_wrap=True)
