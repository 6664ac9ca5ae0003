"""Text that may be printed: names come from files of others, and may hold what a terminal would carry out.

Lines that are not a table are printed here only, so that no path and no message of a library reaches a terminal raw.
"""

from __future__ import annotations

import sys
from typing import Any


def notice(text: str) -> None:
    """Print a line of the program on stderr, where it disturbs no output."""
    print(f"robo-orl: {printable(text)}", file=sys.stderr)


def print_line(text: str) -> None:
    """Print a line of a command's output."""
    print(printable(text))


def printable(text: str) -> str:
    """The text with control characters spelled out, such as \\x1b: an escape sequence is shown, not carried out."""
    return "".join(character if _is_harmless(character) else _spelled(character) for character in text)


def printable_values(value: Any) -> Any:
    """A JSON value of which every text, keys included, is printable."""
    if isinstance(value, dict):
        return {printable(key): printable_values(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [printable_values(inner) for inner in value]
    return printable(value) if isinstance(value, str) else value


def as_label(text: str) -> str:
    """The text as the label of a progress bar, whose square brackets are no markup."""
    from rich.markup import escape

    return escape(printable(text))


def _is_harmless(character: str) -> bool:
    number = ord(character)
    return character in "\n\t" or (number >= 32 and not 127 <= number < 160 and not 0xD800 <= number < 0xE000)


def _spelled(character: str) -> str:
    return ascii(character)[1:-1]


NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def number_word(count: int) -> str:
    """'three', as a sentence says a small number; digits from 13 on."""
    return NUMBERS[count] if count < len(NUMBERS) else str(count)
