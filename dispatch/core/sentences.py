"""Names and numbers in the sentences of errors, checks and commands."""

from __future__ import annotations

from collections.abc import Iterable

MOST_NAMES = 3


def enumerated(names: Iterable[str], most: int = MOST_NAMES) -> str:
    """Return names in a sentence, sorted: ``a, b, c and 4 more``."""
    names = sorted(names)
    shown, more = names[:most], len(names) - most
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def count(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def at_most(number: int, most: int) -> str:
    """Return a number that was counted no further than ``most``."""
    return f"{number:,}{'+' if number >= most else ''}"


def duration(seconds: float) -> str:
    """Return a time in its two largest units: ``45 s``, ``12 min 5 s``, ``3 h 20 min``, ``2 d 4 h``."""
    left = int(seconds)
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        number, left = divmod(left, size)
        parts.append((number, unit))
    first = next((at for at, (number, _) in enumerate(parts) if number), len(parts) - 1)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number) or "0 s"
