r"""Bounds the steps that backtracking takes on any text of a given length.

On a text that does not match, every path of the automaton that the text allows is walked. Per state, the number of
paths that one text leads there is bounded length by length: it is at most the sum over the states before. As two
states that no text reaches at once (the product of the automaton with itself tells) never count together, the
larger of both is enough. That keeps the bound at 1 where each text has one way, as in ``\w+(\.\w+)*``, and lets it
grow by the power of the length for ``.*a.*b`` and exponentially for ``(a+)+$``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from dispatch.core.patterns.automaton import Automaton


def steps(automaton: Automaton, longest: int, budget: int) -> int:
    """Return a bound of the steps that ``re.match`` takes on any text of ``longest`` characters.

    A step goes through one place of the pattern. Counting ends beyond the budget. From a settled state the match will
    succeed, so that the search begins anew there instead of being repeated for each path to it.
    """
    together = reached_together(automaton)
    plans, plan_of = _plans(automaton, together)
    costs = automaton.steps
    crowds = _crowds(range(len(costs)), together)
    paths = [1] + [0] * (len(costs) - 1)
    total = costs[0]
    for _ in range(longest):
        sums = [sum(max(paths[state] * ways for state, ways in crowd) for crowd in plan) for plan in plans]
        paths = [
            min(1, sums[plan]) if settled else sums[plan]
            for plan, settled in zip(plan_of, automaton.settled, strict=True)
        ]
        total += sum(max(paths[state] * costs[state] for state in crowd) for crowd in crowds)
        if total > budget:
            break
    return total


def reached_together(automaton: Automaton) -> list[int]:
    """Return for each state the bit set of the states that one and the same text can also lead to."""
    nexts = [sum(1 << state for state in ways) for ways in automaton.follow]
    sharing = _sharing(automaton.letters)
    together = [0] * len(nexts)
    together[0] = 1
    waiting = {0: 1}
    while waiting:
        state, others = waiting.popitem()
        reached = 0
        for other in _members(others):
            reached |= nexts[other]
        for following in automaton.follow[state]:
            if new := reached & sharing[following] & ~together[following]:
                together[following] |= new
                waiting[following] = waiting.get(following, 0) | new
    return together


def _sharing(letters: Sequence[int]) -> list[int]:
    """Return for each state the bit set of the states that read a character which it reads."""
    holders: dict[int, int] = {}
    for state, read in enumerate(letters):
        holders[read] = holders.get(read, 0) | 1 << state
    shared = {read: sum(states for other, states in holders.items() if other & read) for read in holders}
    return [shared[read] for read in letters]


def _members(bits: int) -> Iterator[int]:
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


Plan = list[list[tuple[int, int]]]


def _plans(automaton: Automaton, together: list[int]) -> tuple[list[Plan], list[int]]:
    """Return how to add up the paths into a state, and for each state which plan is its.

    States with the same states before them, such as the first letters of alternatives, share one.
    """
    before: list[list[tuple[int, int]]] = [[] for _ in automaton.follow]
    for state, following in enumerate(automaton.follow):
        for target, ways in following.items():
            before[target].append((state, ways))
    numbers: dict[tuple[tuple[int, int], ...], int] = {}
    plan_of = [numbers.setdefault(tuple(edges), len(numbers)) for edges in before]
    return [_plan(edges, together) for edges in numbers], plan_of


def _plan(edges: tuple[tuple[int, int], ...], together: list[int]) -> Plan:
    ways = dict(edges)
    return [[(state, ways[state]) for state in crowd] for crowd in _crowds(ways, together)]


def _crowds(states: Iterable[int], together: list[int]) -> list[list[int]]:
    """Divide the states into groups of which a text reaches at most one member."""
    crowds: list[list[int]] = []
    masks: list[int] = []
    for state in states:
        for place, mask in enumerate(masks):
            if not mask & together[state]:
                crowds[place].append(state)
                masks[place] |= 1 << state
                break
        else:
            crowds.append([state])
            masks.append(1 << state)
    return crowds
