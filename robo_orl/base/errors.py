"""Errors that end a command; each carries one sentence that says what is wrong and what to do."""

import difflib
from collections.abc import Iterable

INTERRUPTED = 130  # exit code: 128 + SIGINT, as shells have it
MANY = 20  # more names than this are not listed in a message


class UsageError(Exception):
    """The request cannot be understood, or names something that does not exist (exit code 2)."""


class RunError(Exception):
    """The request was clear but could not be carried out (exit code 1)."""


class Interrupted(RunError):
    """Ctrl-C or SIGTERM ended the command; the message says where the same command continues (exit code 130)."""


def unknown(
    kind: str, name: str, known: Iterable[str], listed_by: str = "", suggested: Iterable[str] | None = None
) -> UsageError:
    """The error for a name that is not among `known`, with the nearest one suggested.

    listed_by: the command that lists them; of many, the message names only the nearest few. suggested: the names that
    the nearest is taken from, by default those known.
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known if suggested is None else suggested, n=5, cutoff=0.4)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    if listed_by and len(known) > MANY:
        others = f" Or {', '.join(near[1:])}?" if near[1:] else ""
        return UsageError(f"Unknown {kind} '{name}'.{hint}{others} `{listed_by}` lists all {len(known)}.")
    return UsageError(f"Unknown {kind} '{name}'.{hint} Known: {', '.join(known) or 'none'}.")
