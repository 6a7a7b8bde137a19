"""Turns a regular expression into automata whose paths are the ways that backtracking can take.

A state is an element of the pattern that reads one character, written out where it is repeated: ``a{2,3}`` has three
(Glushkov's automaton). Between two states there may be several ways without reading, and each is counted, because
each is tried. What only cuts ways off, ``^``, ``$`` or the outcome of a lookahead, is taken to hold: the ways that
remain are an upper bound.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from re import _constants as codes  # type: ignore[attr-defined]  # the parser's, there since 3.11
from re import _parser as parser  # type: ignore[attr-defined]  # likewise
from typing import Any

from dispatch.core.patterns.letters import READING, Element, bit_sets, element

MOST_STATES = 400
MOST_EFFORT = 6_000  # places gone through in building, and so the ways to be counted later
REPEATING = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)
CUTTING = (codes.ATOMIC_GROUP, codes.POSSESSIVE_REPEAT)


class Unreadable(Exception):
    """The time of a pattern cannot be bounded; the message is a sentence that says why and what to do."""


class TooComplex(Unreadable):
    """The pattern is too large to be judged."""

    def __init__(self) -> None:
        super().__init__(
            "its repetitions are too large, or too deeply nested, for the time it takes to be bounded; use * or + "
            "in place of large counts such as {1,200}, do not repeat what is repeated already, or use a glob."
        )


@dataclass(frozen=True, slots=True)
class Automaton:
    """States by number; 0 is the start and reads nothing.

    ``letters`` holds the characters a state reads (a bit set), ``follow`` the number of ways to each next state, and
    ``steps`` what it takes to try them all. From a ``settled`` state, the match succeeds whatever comes next.
    """

    letters: tuple[int, ...]
    follow: tuple[dict[int, int], ...]
    steps: tuple[int, ...]
    settled: tuple[bool, ...]


@dataclass(eq=False, slots=True)
class _Node:
    """A place between characters with the ways on from it, or, with ``reads``, the reading of one.

    With ``loop``, the first way leaves that loop and the others begin a turn of it; ``opens`` marks the way into one.
    ``certain`` is False where a condition stands in the way.
    """

    ways: list[_Node] = field(default_factory=list)
    reads: Element | None = None
    loop: object = None
    opens: object = None
    certain: bool = True
    steps: int = 1


Item = tuple[Any, Any, int]  # the parser's code and its argument, and the flags in force


def automata(pattern: str, longest: int) -> Iterator[Automaton]:
    """Yield automata whose paths together are at least the ways to read a text of ``longest`` characters.

    What follows an atomic group, or a possessive repetition, begins anew where that can be entered only once: however
    it matched, it is left once. This is what keeps the globs of Python 3.11 and later from exploding.

    Raises Unreadable for what such automata cannot express, and for what is too large.
    """
    tree = parser.parse(pattern)
    items = list(_flat(tree, tree.state.flags))
    start = 0
    for place, (code, _, _) in enumerate(items):
        if code in CUTTING:
            yield _Builder(longest).automaton(items[start : place + 1], _Node())
            start = place + 1
        elif code not in READING and code is not codes.AT:
            break
    builder = _Builder(longest)
    yield builder.automaton(items[start:], builder.end)


def _flat(tree: Any, flags: int) -> Iterator[Item]:
    """Yield the items of a sequence, those of its groups included."""
    for code, argument in tree:
        if code is codes.SUBPATTERN:
            _, added, removed, inner = argument
            yield from _flat(inner, _combined(flags, added, removed))
        else:
            yield code, argument, flags


def _combined(flags: int, added: int, removed: int) -> int:
    if added & parser.TYPE_FLAGS:  # (?a:…) and (?u:…) exclude each other
        flags &= ~parser.TYPE_FLAGS
    return (flags | added) & ~removed


class _Builder:
    """Builds nodes from the end of the pattern to its start, then the automaton between those that read."""

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.end = _Node()
        self.reading: list[_Node] = []
        self.effort = MOST_EFFORT

    def automaton(self, items: list[Item], end: _Node) -> Automaton:
        start = self._sequence(items, end)
        numbers = {node: number for number, node in enumerate(self.reading, 1)}
        places = [start, *(node.ways[0] for node in self.reading)]
        closures, taken = zip(*map(self._closure, places), strict=True)
        letters = bit_sets(node.reads for node in self.reading if node.reads)
        return Automaton(
            letters=(0, *(letters[node.reads] for node in self.reading if node.reads)),
            follow=tuple(
                {numbers[node]: count for node, count in reached.items() if node is not self.end}
                for reached in closures
            ),
            steps=taken,
            settled=tuple(self.end in reached for reached in closures),
        )

    def _closure(self, place: _Node) -> tuple[Counter[_Node], int]:
        """Count the ways from a place to each next reading node, and to the end where no condition is on the way.

        Returns the steps that walking them takes as well. As in :mod:`re`, a turn of a loop that read nothing is the
        last one until the loop is begun anew.
        """
        reached: Counter[_Node] = Counter()
        steps = 0
        waiting: list[tuple[_Node, frozenset[object], bool]] = [(place, frozenset(), True)]
        while waiting:
            self._spend()
            node, turns, certain = waiting.pop()
            steps += node.steps
            certain = certain and node.certain
            if node.reads or (node is self.end and certain):
                reached[node] += 1
            elif node.loop is None:
                waiting.extend((way, turns - {node.opens}, certain) for way in node.ways)
            else:
                waiting.append((node.ways[0], turns, certain))
                if node.loop not in turns:
                    waiting.extend((way, turns | {node.loop}, certain) for way in node.ways[1:])
        return reached, steps

    def _spend(self) -> None:
        self.effort -= 1
        if self.effort < 0 or len(self.reading) > MOST_STATES:
            raise TooComplex

    def _sequence(self, items: list[Item], after: _Node) -> _Node:
        for item in reversed(items):
            after = self._item(item, after)
        return after

    def _tree(self, tree: Any, flags: int, after: _Node) -> _Node:
        return self._sequence(list(_flat(tree, flags)), after)

    def _item(self, item: Item, after: _Node) -> _Node:
        """Return the place from which the item is read, and ``after`` it what follows."""
        self._spend()
        code, argument, flags = item
        if code in READING:
            node = _Node([after], element(code, argument, flags))
            self.reading.append(node)
            return node
        if code in REPEATING:
            return self._repetition(argument, flags, after)
        if code is codes.BRANCH:
            return _Node([self._tree(branch, flags, after) for branch in argument[1]])
        if code is codes.ATOMIC_GROUP:
            return self._tree(argument, flags, after)
        return self._condition(code, argument, flags, after)

    def _repetition(self, argument: Any, flags: int, after: _Node) -> _Node:
        least, most, tree = argument
        loop, place = object(), after
        if most >= self.longest:  # more turns than a name has characters are as good as any number
            place = _Node([after], loop=loop)
            place.ways.append(self._tree(tree, flags, place))
        else:
            for _ in range(most - least):
                place = _Node([after, self._tree(tree, flags, place)], loop=loop)
        place = _Node([place], opens=loop)
        for _ in range(least):
            self._spend()
            place = self._tree(tree, flags, place)
        return place

    def _condition(self, code: Any, argument: Any, flags: int, after: _Node) -> _Node:
        if code is codes.AT:
            return _Node([after], certain=False)
        if code is codes.FAILURE:
            return _Node()
        if code not in (codes.ASSERT, codes.ASSERT_NOT):
            raise Unreadable(
                r"it holds a reference to a group, such as \1 or (?(1)…), or something newer than this check, whose "
                r"time cannot be bounded; write the text of the group again in its place, or use a glob."
            )
        direction, tree = argument
        if direction > 0:  # what it reads is thrown away afterwards: a way that ends nowhere
            return _Node([self._tree(tree, flags, _Node()), after], certain=False)
        items = list(_flat(tree, flags))
        if any(code not in READING and code is not codes.AT for code, _, _ in items):
            raise Unreadable(
                "a look back (?<=…) or (?<!…) is taken only with plain characters in it, because its time is not "
                "bounded otherwise; write it without groups and counts, or look ahead instead."
            )
        return _Node([after], certain=False, steps=5 + len(items))
