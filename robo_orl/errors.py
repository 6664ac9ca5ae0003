"""The ways in which a command ends early; each carries one sentence that says what to do."""

import difflib
from collections.abc import Iterable


class UsageError(Exception):
    """What the user asked for cannot be understood or does not exist (exit code 2)."""


class RunError(Exception):
    """The request was clear but could not be carried out (exit code 1)."""


class Interrupted(RunError):
    """Ctrl-C or SIGTERM came; the sentence says where the same command goes on (exit code INTERRUPTED)."""


INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is not among `known`, with the nearest one suggested."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return UsageError(f"Unknown {kind} '{name}'.{hint} Known: {', '.join(known) or 'none'}.")
