from __future__ import annotations

import re
import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import example, given, reject
from hypothesis import strategies as st

from dispatch.core.route_patterns import MOST_REPEATED, check, compile_pattern
from dispatch.exceptions import ConfigurationError

EXPLODING = "(a|aa)+$"
FORTY = "a" * 40 + "!"


def expression(pattern):
    return compile_pattern("regex", pattern)


# -- the trial when a route is saved ----------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        (EXPLODING, []),
        (r"(a|a)*$", []),
        (r"(a|aa)*b", []),
        (r"(?:(?>a|aa)*)*b", []),
        (r"(?i)(k|KK)*x", []),
        (r"(\w|\w\w)+$", []),
        (r"(a|aa){50}b", []),
        (r"((?:a|aa)+)+$", []),
        (r"^(([a-z])+.)+[A-Z]([a-z])+$", []),
        (r"(?i)(?:K|kk)+$", []),
        (r"worker\.tasks\.(a|aa)+$", []),
        (r"(?=(x|xx)+$)x", []),
        (r"(?:video|image)\.(a|aa)+$", ["video.a"]),
        (r"[v]ideo\.([lm]|[lm][lm])+$", ["video.llm"]),
    ],
)
def test_a_pattern_that_explodes_is_refused_with_a_name_the_reason_and_the_remedy(pattern, names):
    with pytest.raises(ConfigurationError) as refusal:
        check(pattern, names)
    said = str(refusal.value)
    assert said.startswith(f"'{pattern}' can take too long: on the task name '")
    assert "read the same text in ever so many ways" in said
    assert "for example a+ in place of (a|aa)+" in said


@pytest.mark.parametrize(
    "pattern",
    [
        r"",
        r".*",
        r"worker\.tasks\.(llm|stt)\..*",
        r".*\.(images|video)\..+",
        r"^(video|image)\.[a-z_]+$",
        r"worker\.tasks\.[a-z]+\.(?!debug).*",
        r".*(?<!debug)$",
        r"(?i)WORKER\..*",
        r"\w+(\.\w+)*$",
        r"(\w+\.)*tasks\.\w+$",
        r"^(?P<app>\w+)\.tasks\.(?P<name>\w+)$",
        r"([a-z_]+\.){2,5}[a-z_]+$",
        r"[a-z]{1,64}\.[a-z]{1,64}$",
        r".{1,255}$",
        r"[a-z]++\..*",
        r"(?>\w+)\.x",
        r"(?#a remark).*x",
        r"(.*\.)?(tasks|jobs)\.(\w+\.)*run$",
        r"^(?!worker\.tasks\.(?:llm|stt)\.)[\w.]+$",
        r"(shop|blog)\.tasks\.(send|resend)_(mail|sms|push)s?$",
    ],
)
def test_an_everyday_pattern_is_accepted(pattern):
    check(pattern, ["worker.tasks.llm.summarize", "feed.refresh"])


def test_what_python_takes_for_ever_over_is_accepted_where_it_is_settled_at_once():
    """In a fifteenth of what a trial allows: ``(a+)+$`` takes half of it, and all on a machine that is half as fast."""
    pattern = "(a{1,9})+$"
    check(pattern, [])
    assert not expression(pattern)(FORTY)
    assert expression(pattern)("a" * 40)


# -- what cannot be used ------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["[", "*a", "(?P<a>x)(?P<a>y)", "a{99999999999999999999}", "(" * 5000])
def test_what_does_not_compile_is_refused_with_the_reason(pattern):
    with pytest.raises(ConfigurationError, match="is not a regular expression: "):
        check(pattern, [])


@pytest.mark.parametrize(
    ("pattern", "remedy"),
    [
        ("(a)?(?(1)b|c)", "write its cases as alternatives"),
        (r"(\w+)\.\1$", "write the text of the group again"),
        ("(?P<a>x)(?P=a)", "write the text of the group again"),
        ("a(?i:b)", "write (?i) at the start"),
        ("[^a]|[^.]", "write [^ax]"),
        ("[[:alpha:]]", "put the colon at the end of the set"),
        ("(a+){2}+", r"write (?>a{2})"),
        ("a{e}", r"write \{"),
        ("a{e<=1}", r"write \{"),
        ("a{1,2", r"write \{"),
        ("a{}", r"write \{"),
        ("(?:){4000000000}", "use * or + in place of large counts"),
        ("(?x)((a) {99} ) {99} ", "use * or + in place of large counts"),
        ("((a)(?#x){99}){99}", "use * or + in place of large counts"),
        ("((a{1,40}){1,40}){1,40}b", "use * or + in place of large counts"),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_would_be_read_otherwise_than_by_python_is_refused_with_the_remedy(pattern, remedy):
    with pytest.raises(ConfigurationError, match=re.escape(remedy)):
        check(pattern, [])
    with pytest.raises(ConfigurationError, match="is refused"):
        compile_pattern("regex", pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"a\{e\}",
        r"\(?\(x",
        r"[a:]",
        rf"a{{{MOST_REPEATED}}}",
        r"\}+",
        r"([^.]+)\.(a|b)\.[^.]+",
        r"(?s:feed\..*)\Z",
        "(?i)(?:a|b)",
        r"\\1",
        r"[a]{1,255}\.\w{1,255}",
    ],
)
def test_what_looks_like_it_and_is_read_alike_is_accepted(pattern):
    check(pattern, [])


# -- as Python's re ------------------------------------------------------------------

FRAGMENTS = [
    *"ab.|^$_-{}",
    *(
        r"\.",
        r"\w",
        r"\W",
        r"\d",
        r"\D",
        r"\s",
        r"\S",
        r"\b",
        r"\B",
        r"\A",
        r"\Z",
        r"\1",
        r"\x61",
        r"\N{BULLET}",
    ),
    *(
        "[ab]",
        "[^a]",
        "[]a]",
        "[^]a]",
        "[a-c.]",
        "[\\w.]",
        "[^\\W_]",
        "[a-]",
        "[[:alpha:]]",
        "[a[:digit:]]",
        "[:a]",
    ),
    *("[a&&b]", "[a--b]", "{e}", "{e<=1}", "{i}", "(?#x)"),
]
REPEATED = ["*", "+", "?", "{2}", "{1,3}", "{,2}", "{2,}", "{0}"]
GROUPS = ["(", "(?:", "(?>", "(?=", "(?!", "(?<=", "(?<!", "(?P<n>", "(?i:", "(?-i:", "(?s:", "(?x:", "(?a:"]


def grown(parts):
    groups = st.builds("{}{})".format, st.sampled_from(GROUPS), parts)
    return (
        st.lists(parts, max_size=3).map("".join)
        | st.builds("{}|{}".format, parts, parts)
        | groups
        | st.builds("(?(1){}|{})".format, parts, parts)
        | st.builds("(?:{}){}{}".format, parts, st.sampled_from(REPEATED), st.sampled_from(["", "?", "+"]))
    )


fragments = st.recursive(st.sampled_from(FRAGMENTS), grown, max_leaves=6)
flags = st.sampled_from(["", "", "(?i)", "(?s)", "(?m)", "(?x)", "(?a)", "(?ai)"])
ends = st.sampled_from(["", "$", r"\Z"])
# Short ones: Python's re has no timeout, and some of these patterns explode on eight characters.
NAMES = [
    *(
        "a",
        "b",
        "ab",
        "ba",
        "aab",
        "aaaa",
        "abab",
        "bbab",
        "aB",
        "A.B",
        "a.b",
        "_b.c",
        "1",
        "a1",
        "a-b",
        "a\n",
    ),
    *("a{e}", "a{1,2", "a:b"),
]


@pytest.mark.filterwarnings("ignore::FutureWarning")
@given(st.builds("{}{}{}".format, flags, fragments, ends))
@example("a{e}$")
@example("b{e<=1}")
@example("[^]a]|(?i:b)")
@example("[^a]|[^.]")
@example("[[:alpha:]]")
@example("(?:(?:a|b)+){2}+$")
@example("((?(1)a|.{0,0})){,2}$")
def test_a_regular_expression_matches_what_it_matches_in_python_or_is_refused(pattern):
    given_up = []
    try:
        compiled = re.compile(pattern)
        matches = compile_pattern("regex", pattern, given_up.append)
    except (re.error, ConfigurationError):
        reject()
    for name in NAMES:
        with suppress(SystemError):  # a defect of re in some nested repetitions
            assert bool(matches(name)) == (compiled.match(name) is not None) or given_up, name


@pytest.mark.parametrize("pattern", [r"\w+$", r"\D+$", r"\S+$", r"(?:\B.)+$|\b", "(?i)[^0-9]+$"])
def test_letters_of_every_script_are_read_as_python_reads_them(pattern):
    letters = "".join(char for char in map(chr, range(sys.maxunicode + 1)) if char.isalpha())
    assert bool(expression(pattern)(letters)) == (re.match(pattern, letters) is not None)


@pytest.mark.parametrize(
    ("pattern", "name", "in_python"),
    [
        (r"\w+$", "m\u00b2", True),
        (r"\w+$", "e\u0301", False),
        ("(?i)i$", "\u0131", True),
        (r"\s", "\x1c", True),
    ],
)
def test_marks_numbers_and_the_dotless_i_follow_the_tables_of_unicode(pattern, name, in_python):
    assert (re.match(pattern, name) is not None) == in_python
    assert bool(expression(pattern)(name)) != in_python


# -- the bound at each match ------------------------------------------------------------


def test_an_expression_that_takes_too_long_matches_none_from_then_on_and_says_so_once():
    told = []
    matches = compile_pattern("regex", EXPLODING, told.append)
    assert matches("aaa")
    assert not matches(FORTY * 6)
    assert not matches("aaa")
    assert not matches(FORTY * 6)
    assert told == [FORTY * 6]


@pytest.mark.parametrize("glob", ["*a" * 127 + "b", "*?" * 127 + "b", "*[ab]*a" * 36 + "c", "*" * 254 + "b"])
def test_no_glob_explodes(glob):
    assert not compile_pattern("glob", glob)("a" * 254 + "!")


def test_no_star_of_a_glob_is_tried_twice():
    translated = compile_pattern("glob", "*a*b*").__self__.pattern
    assert translated.count("(?>") == 2


def test_a_process_without_regular_expressions_loads_no_module_for_them():
    code = (
        "import sys, django; django.setup(); import dispatch.api;"
        "from dispatch.core.route_patterns import compile_pattern as c; c('glob', 'a.*'), c('exact', 'a');"
        "assert 'regex' not in sys.modules; c('regex', 'a'); assert 'regex' in sys.modules"
    )
    environment = {"DJANGO_SETTINGS_MODULE": "project.settings", "DATABASE_URL": "sqlite://"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
