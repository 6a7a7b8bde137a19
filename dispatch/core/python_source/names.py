"""Names in Python for things that a worker has named: unique, legal, and the same at every run."""

from __future__ import annotations

import builtins
import keyword
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

#: What must mean in a module what it means everywhere.
RESERVED = frozenset(keyword.kwlist) | frozenset(keyword.softkwlist) | frozenset(dir(builtins))


class Names:
    """The names of one module, each given once."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._taken = {*RESERVED, *reserved}

    def claim(self, *candidates: str) -> str:
        """Return the first candidate that is free, or the last one with a number; it is taken from now on."""
        name = next((name for name in candidates if name not in self._taken), None)
        number = 2
        while name is None:
            numbered = f"{candidates[-1]}_{number}"
            name = numbered if numbered not in self._taken else None
            number += 1
        self._taken.add(name)
        return name

    def claim_short(self, dotted: Iterable[str]) -> dict[str, str]:
        """Return a name for each dotted one: its last part, with as many parts before it as tell it from all others.

        Those of one last part are all made longer, so that none of them takes the name that another one had.
        """
        wanted = sorted(set(dotted))
        lengths = dict.fromkeys(wanted, 1)
        while too_short := self._too_short(lengths):
            lengths |= {name: lengths[name] + 1 for name in too_short}
        short = {name: identifier(_tail(name, lengths[name])) for name in wanted}
        return {name: self.claim(short[name], f"{short[name]}_") for name in wanted}

    def _too_short(self, lengths: dict[str, int]) -> list[str]:
        """Return the dotted names whose tails cannot be used yet, but have parts left to grow by."""
        tails = {name: _tail(name, length) for name, length in lengths.items()}
        uses = Counter(identifier(tail) for tail in tails.values())
        return [
            name
            for name, tail in tails.items()
            if lengths[name] <= name.count(".") and (not self._is_free(tail) or uses[identifier(tail)] > 1)
        ]

    def _is_free(self, tail: str) -> bool:
        return identifier(tail) not in self._taken and identifier(tail) == _letters(tail)


def identifier(text: str) -> str:
    """Return a legal name that resembles a text: no keyword, no ``__dunder``, no letters that Python would change."""
    name = _letters(text)
    if name.startswith("__"):
        name = name.lstrip("_")
    if not name.strip("_") or not name.isidentifier():
        name = f"x_{name}".rstrip("_")
    return f"{name}_" if keyword.iskeyword(name) else name


def class_name(text: str) -> str:
    """Return a text as a name in CapWords."""
    words = re.split(r"[\W_]+", text)
    return identifier("".join(word[:1].upper() + word[1:] for word in words))


def _letters(text: str) -> str:
    """Return the text with ``_`` for what no name may hold, in the form to which Python brings names (NFKC)."""
    normal = unicodedata.normalize("NFKC", text)
    legal = "".join(letter if f"a{letter}".isidentifier() else "_" for letter in normal)
    if unicodedata.is_normalized("NFKC", legal):
        return legal
    return re.sub(r"[^\x00-\x7f]", "_", legal)


def _tail(name: str, parts: int) -> str:
    return "_".join(name.split(".")[-parts:])
