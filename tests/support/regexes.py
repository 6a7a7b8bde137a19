"""Regular expressions as trees: generated, written out, and matched naively.

A string is an element that reads one character; tuples are ("seq", *nodes), ("alt", *nodes),
("repeat", quantifier, least, most, node), and (opening, node) for the groups.
"""

from __future__ import annotations

import itertools
import re

from hypothesis import assume
from hypothesis import strategies as st

ELEMENTS = ["a", "b", "[ab]", "[^a]", ".", r"\."]
QUANTIFIERS = {"*": (0, 99), "+": (1, 99), "?": (0, 1), "{2}": (2, 2), "{1,3}": (1, 3), "{0,9}": (0, 9)}
GROUPS = ["(?:", "(", "(?>", "(?=", "(?!"]


def repeats(nodes):
    def build(node, quantifier, kind):
        return ("repeat", quantifier + kind, *QUANTIFIERS[quantifier], node)

    return st.builds(build, nodes, st.sampled_from(sorted(QUANTIFIERS)), st.sampled_from(["", "", "?", "+"]))


def branches(nodes):
    parts = st.lists(nodes, max_size=3).map(tuple)
    return (
        repeats(nodes)
        | st.builds(lambda nodes: ("seq", *nodes), parts)
        | st.builds(lambda nodes: ("alt", *nodes, ("seq",)), parts)
        | st.builds(lambda nodes: ("alt", *nodes), parts.filter(bool))
        | st.tuples(st.sampled_from(GROUPS), nodes)
    )


trees = st.recursive(st.sampled_from(ELEMENTS), branches, max_leaves=8)


def written(node, apart=""):
    """Return the pattern; with ``apart="()"`` re cannot merge ``a|a`` and ``ab|ac``, which saves it steps."""
    match node:
        case str():
            return node
        case ("seq", *nodes):
            return "".join(written(each, apart) for each in nodes)
        case ("alt", *nodes):
            return f"(?:{'|'.join(apart + written(each, apart) for each in nodes)})"
        case ("repeat", quantifier, _, _, inner):
            return f"(?:{written(inner, apart)}){quantifier}"
        case (opening, inner):
            return f"{opening}{written(inner, apart)})"


class Naive:
    """Backtracks as the documentation of re describes it, and counts the attempts to read a character."""

    def __init__(self, name, most):
        self.name = name
        self.left = self.most = most

    def ends(self, node, at):
        match node:
            case str():
                yield from self.read(node, at)
            case ("seq",):
                yield at
            case ("seq", first, *others):
                for end in self.ends(first, at):
                    yield from self.ends(("seq", *others), end)
            case ("alt", *nodes):
                for each in nodes:
                    yield from self.ends(each, at)
            case ("repeat", quantifier, least, most, inner):
                possessive, lazy = (quantifier[1:].endswith(kind) for kind in "+?")
                ways = self.turns(inner, at, least, most, lazy=lazy)
                yield from itertools.islice(ways, 1 if possessive else None)
            case (opening, inner):
                yield from self.group(opening, inner, at)

    def group(self, opening, inner, at):
        ways = self.ends(inner, at)
        if opening in ("(?=", "(?!"):
            found = next(ways, None) is not None
            yield from [at] if found == (opening == "(?=") else []
        else:
            yield from itertools.islice(ways, 1 if opening == "(?>" else None)

    def read(self, element, at):
        self.left -= 1
        assume(self.left)
        if re.match(element, self.name[at:]):
            yield at + 1

    def turns(self, inner, at, least, most, *, lazy, fruitless=False):
        if lazy and least <= 0:
            yield at
        if most and not (fruitless and least <= 0):
            for end in self.ends(inner, at):
                optional = least <= 0
                yield from self.turns(
                    inner, end, least - 1, most - 1, lazy=lazy, fruitless=optional and end == at
                )
        if not lazy and least <= 0:
            yield at
