"""Showing what stands in a file that nobody trusts: on one line, short, and nothing but text."""

from __future__ import annotations

LONGEST = 80


def shown(text: str | bytes | bytearray, longest: int = LONGEST) -> str:
    """In quotes, cut; `repr` escapes whatever could move a terminal's cursor or break the line."""
    if len(text) <= longest:
        return repr(text)
    return f"{text[:longest]!r}… ({len(text)} long)"
