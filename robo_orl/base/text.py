"""Text that may be printed: names come from files of others, and may hold what a terminal would carry out."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with control characters spelled out, such as \\x1b: an escape sequence is shown, not carried out."""
    return "".join(character if _is_harmless(character) else _spelled(character) for character in text)


def _is_harmless(character: str) -> bool:
    number = ord(character)
    return character in "\n\t" or (number >= 32 and not 127 <= number < 160 and not 0xD800 <= number < 0xE000)


def _spelled(character: str) -> str:
    return ascii(character)[1:-1]
