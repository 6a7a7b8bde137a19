from __future__ import annotations

import fnmatch
import itertools
import json
import re
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from hypothesis import assume, event, example, given, settings
from hypothesis import strategies as st

from dispatch.core.patterns import LONGEST_NAME, MOST_STEPS, check
from dispatch.core.patterns.automaton import Unreadable, automata
from dispatch.core.patterns.counting import steps
from dispatch.core.patterns.parts import repeated_groups
from dispatch.core.routing import compile_pattern
from dispatch.exceptions import ConfigurationError
from tests.support.regexes import Naive, trees, written

QUICK = 0.5  # seconds of one match; the guard aims at some tenths of it on an idle machine
YARDSTICK = 0.05  # seconds that a million steps of Python take on such a machine


def is_quick(spent):
    """Tell whether that was less than ``QUICK`` seconds on an idle machine; others are as slow as their Python is."""
    return spent < QUICK or spent < QUICK * slowness()


def slowness():
    began, steps = time.process_time(), 0
    for each in range(1_000_000):
        steps += each & 3
    return (time.process_time() - began) / YARDSTICK


def accepts(pattern):
    try:
        check(pattern)
    except ConfigurationError:
        return False
    return True


# -- examples -----------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+$",
        r"(a|aa)*b",
        r"(a|a)*$",
        r"(a*)*b",
        r"(a?b?)*c",
        r"(\w+\s?)*$",
        r"^(([a-z])+.)+[A-Z]([a-z])+$",
        r"^([\w.]+\.)*[\w.]+\.tasks$",
        r"(?i)(k|KK)*x",
        r"(?i:[a-z]|\d)*(?i:[A-Z]|\d)*(?i:[a-z]|\d)*(?i:[A-Z]|\d)*(?i:[a-z]|\d)*x",
        # polynomial, of a high degree
        r"(.*a){20}",
        r"(?:.*a){4}b",
        r"(.*?,){11}P",
        r".*a.*b.*c.*d$",
        # without any loop
        r"(a|aa){50}b",
        r"(a?){40}a{40}b",
        r"(|){40}b",
        r"((a{1,40}){1,40}){1,40}b",
        # in places that are easily overlooked
        r"(?=(a+)+$)a",
        r"(?!(a+)+$)a",
        r"worker\.(?:tasks\.(?:(?:a+)+)\.)x",
        r"(?:(?>a|aa)*)*b",
        r"(a*a*)*+b",
        r".*.*(?>a).*.*b",
        r"(a)*(a)*(a)*(?<=" + "a" * 180 + ")b",
        # only by characters that are easily overlooked
        r"([\u0904-\u0939]+\w*)*!",
        r"(?s)(?:.|\n\s)*!",
        r"(?:[^\x00-\u1000]|\s[^\x00-\u1000])*!",
        r"(?:(?i:\u0436)|[\u0410-\u042f][\u0410-\u042f])*!",
        r"(?a)(?:(?u:\w)|[^\x00-\x7f][^\x00-\x7f])*!",
    ],
)
def test_a_pattern_that_can_explode_is_refused(pattern):
    with pytest.raises(ConfigurationError):
        check(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"",
        r".*",
        r"worker\.tasks\.(llm|stt)\..*",
        r"feed\..*",
        r".*\.(images|video)\..+",
        r"^(video|image)\.[a-z_]+$",
        r"worker\.tasks\.[a-z]+\.(?!debug).*",
        r"(?!.*debug)worker\..*",
        r".*(?<!debug)$",
        r"(?i)WORKER\..*",
        r"[a-z_.]+",
        r"\w+(\.\w+)*",
        r"\w+(\.\w+)*$",
        r"(\w+\.)*tasks\.\w+$",
        r"^(?P<app>\w+)\.tasks\.(?P<name>\w+)$",
        r"([a-z_]+\.){2,5}[a-z_]+$",
        r"[a-z]{1,64}\.[a-z]{1,64}$",
        r".{1,255}$",
        r"^.*foo.*bar.*baz$",
        r".*\.a\..*\.b\..*",
        r"(a|b|c)*d",
        r"(a?)*b",
        r"(?:a|aa){0,9}b",
        r"[a-z]++\..*",
        r"(?>\w+)\.x",
        r"(?#a remark).*x",
        r".*(\.\w+)*$",
        r"(.*\.)?(tasks|jobs)\.(\w+\.)*run$",
        r"(?:worker|feed)(?:\.\w+){1,3}",
        r"^(?!worker\.tasks\.(?:llm|stt)\.)[\w.]+$",
        r"(shop|blog)\.tasks\.(send|resend)_(mail|sms|push)s?$",
        r".*_v\d+(_\d+)*$",
        r"\s*[\w-]+(\.[\w-]+)*\s*$",
    ],
)
def test_an_everyday_pattern_is_accepted(pattern):
    check(pattern)


def test_a_pattern_without_a_failing_end_is_accepted_because_match_stops_at_the_first_way():
    check(r"(a+)+")


@pytest.mark.parametrize("pattern", ["[", "(?P<a>x)(?P<a>y)", "a{99999999999}", "(" * 5000 + ")" * 5000])
def test_what_does_not_compile_is_refused_with_the_reason(pattern):
    with pytest.raises(ConfigurationError, match="is not a regular expression: "):
        check(pattern)


# -- the sentence ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "part"),
    [
        (r"worker\.(a+)+$", r"'(a+)+'"),
        (r"(video|voice)\.(a|aa)*?b", r"'(a|aa)*?'"),
        (r"[(](?:(x*)*y){1,2}", r"'(x*)*'"),
        (r"(.*a){20}", r"'(.*a){20}'"),
        (r"feed\.(\w+\s?)*$", r"'(\w+\s?)*'"),
    ],
)
def test_the_refusal_names_the_part_as_it_was_written_and_the_remedy(pattern, part):
    with pytest.raises(ConfigurationError) as refusal:
        check(pattern)
    assert f"the part {part} can read the same text in millions of ways" in str(refusal.value)
    assert "for example a+ in place of (a+)+" in str(refusal.value)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r".*a.*b.*c.*d$", r"its repeated or optional parts .* for example \[\^\.\]\* in place of \.\*"),
        (r"a{1000}", r"repetitions are too large, .* use \* or \+ in place of large counts"),
        (r"a?" * 127, r"repetitions are too large"),
        (r"(a)\1", r"a reference to a group, .* write the text of the group again"),
        (r"(a)?(?(1)b|c)", r"a reference to a group, .* write the text of the group again"),
        (r"(?<=(?:ab|cd))x", r"a look back .* look ahead instead"),
    ],
)
def test_the_refusal_says_why_and_what_to_write_instead(pattern, words):
    with pytest.raises(ConfigurationError, match=words):
        check(pattern)


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [
        (r"(a(b)+)*c", ["(b)+", "(a(b)+)*"]),
        (r"[(]a)+\((b){2,3}?", ["(b){2,3}?"]),
        (r"[]()](a)?+(b)", ["(a)?+"]),
        (r"(?#x()(a)*", ["(a)*"]),
        (r"(?:a\))+", [r"(?:a\))+"]),
    ],
)
def test_the_repeated_groups_are_found_in_the_text(pattern, groups):
    assert repeated_groups(pattern) == groups


# -- the bound, against a naive matcher ---------------------------------------------

FAILING = r"(?!)"
names = st.text("ab.", max_size=10)


def bound(pattern, length):
    """Return the guard's bound of the attempts to read a character, without the steps in between."""
    attempts = (
        replace(automaton, steps=tuple(1 + sum(ways.values()) for ways in automaton.follow))
        for automaton in automata(pattern, length)
    )
    return sum(steps(automaton, length, 10**12) for automaton in attempts)


@settings(max_examples=300, deadline=None)
@given(trees, names, st.booleans())
@example(("repeat", "*", 0, 99, ("repeat", "?", 0, 1, "a")), "aaaaaa", True)
@example(("repeat", "*", 0, 99, ("repeat", "*", 0, 99, "a")), "aaaaaa", True)
@example(("repeat", "*", 0, 99, ("repeat", "*", 0, 99, ("repeat", "*", 0, 99, "a"))), "aa", True)
@example(("seq", ("repeat", "*+", 0, 99, "a"), ("repeat", "*", 0, 99, ".")), "aaaaaa", True)
def test_a_backtracking_match_never_takes_more_steps_than_the_guard_says(tree, name, fails):
    naive = Naive(name, 20_000)
    sum(1 for _ in naive.ends(tree, 0)) if fails else next(naive.ends(tree, 0), None)
    try:
        expected = bound(written(tree, apart="()") + (FAILING if fails else ""), max(len(name), 1))
    except Unreadable:
        assume(False)
    event(f"within {'a tenth' if (naive.most - naive.left) * 10 < expected else 'ten times'} of the bound")
    assert naive.most - naive.left <= expected


@settings(max_examples=200, deadline=None)
@given(trees, names)
def test_the_naive_matcher_used_here_ends_where_re_does(tree, name):
    end = next(Naive(name, 20_000).ends(tree, 0), None)
    found = re.match(written(tree), name)
    assert end == (found and found.end())


# -- the clock -------------------------------------------------------------------

ATTACK = """
import json, re, sys, time
pattern, names = json.load(sys.stdin)
compiled = re.compile(pattern)
longest = 0
for name in names:
    began = time.process_time()
    compiled.match(name)
    longest = max(longest, time.process_time() - began)
print(longest)
"""


def slowest(pattern, limit=20):
    """Return the seconds of the slowest match on pumped names; a process of its own can be ended."""
    alphabet = sorted({*re.sub(r"\W", "", pattern)[:3], "a", "."})
    pumps = ["".join(pump) for size in (1, 2, 3) for pump in itertools.product(alphabet[:3], repeat=size)]
    attacks = [(pump * LONGEST_NAME)[: LONGEST_NAME - 1] + end for pump in pumps for end in ("!", pump[0])]
    child = subprocess.run(
        [sys.executable, "-I", "-S", "-c", ATTACK],
        input=json.dumps([pattern, attacks]),
        capture_output=True,
        check=True,
        text=True,
        timeout=limit,
    )
    return float(child.stdout)


CLOCKED = settings(max_examples=40, deadline=None)


@CLOCKED
@given(trees, st.sampled_from(["$", "c", r"\.c", ""]))
@example(("seq", *[("repeat", "*", 0, 99, "."), "a"] * 3), "$")
def test_an_accepted_pattern_is_quick_on_pumped_names(tree, end):
    pattern = written(tree) + end
    accepted = accepts(pattern)
    event(f"accepted: {accepted}")
    assume(accepted)
    assert is_quick(slowest(pattern))


def test_these_names_bring_down_a_pattern_that_the_guard_refuses():
    with pytest.raises(subprocess.TimeoutExpired):
        slowest("(a|b|ab)*c", limit=2)


@CLOCKED
@given(st.text("ab*?.[!]", max_size=LONGEST_NAME))
@example("*a*a*a*a*a*a*a*b")
@example("*a" * 127)
@example("*?" * 127)
@example("*" + "?" * 254)
def test_every_glob_is_quick_and_its_translation_is_accepted(glob):
    check(fnmatch.translate(glob))
    assert is_quick(slowest(compile_pattern("glob", glob).pattern))


# -- the guard's own time -----------------------------------------------------------

soup = st.lists(
    st.sampled_from(
        ["a", "b", ".", "*", "+", "?", "(", ")", "|", "(?:", "(?=", "[ab]", "{1,9}", "{9}", r"\w"]
    ),
    max_size=150,
).map("".join)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@settings(deadline=None)
@given(soup | trees.map(written) | trees.map(lambda tree: written(tree) * 20))
@example(
    "(?:ab|cd|ef|gh|ij|kl|mn|op|qr|st|uv|wx|yz|ac|bd|ce|df|eg|fh|gi|hj|ik|jl|km|ln|mo|np|oq|pr|qs)*.*" * 2
)
@example(".{0,99}" * 4 + "$")
@example("(?:a|.){0,99}" * 4 + "$")
@example("(" * 90 + "a" + ")*" * 90)
@example("(a|" * 60 + "b" + ")*" * 60)
@example("(?:){4000000000}")
@example("a?" * 127)
@example("(a?)" * 50 + "{99}")
def test_the_guard_itself_is_quick_whatever_it_is_given(pattern):
    began = time.process_time()
    accepted = accepts(pattern)
    spent = time.process_time() - began
    event(f"accepted: {accepted}")
    assert is_quick(spent)


def test_the_bound_of_three_stars_is_of_the_order_that_counting_gives():
    stars = "x.*x.*x.*!"
    assert LONGEST_NAME**3 / 6 < bound(stars, LONGEST_NAME) < MOST_STEPS
