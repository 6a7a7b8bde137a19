from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch.core.wording import redact, suggest

SECRET = "s3cr3t"
visible = st.characters(min_codepoint=33, max_codepoint=0x2FF, blacklist_categories=["Zs", "Zl", "Zp", "Cc"])
# What surrounds the secret may be any character that is not white space: nobody types passwords percent-encoded.
passwords = st.tuples(st.text(visible), st.text(visible)).map(lambda ends: f"{ends[0]}{SECRET}{ends[1]}")
users = st.text(visible.filter(lambda character: character != ":"), max_size=8)
schemes = st.sampled_from(["redis", "rediss", "amqp", "redis+socket", "sentinel", "db+postgresql", "HTTP"])
urls = st.builds("{}://{}:{}@host:6379/0".format, schemes, users, passwords)


@given(urls)
def test_no_password_survives(url):
    assert SECRET not in redact(f"cannot reach {url}: refused")


@given(st.lists(urls, min_size=2, max_size=4), st.sampled_from([" ", "\n", ";", ", ", ","]))
def test_no_password_survives_where_one_text_holds_several_urls(several, separator):
    assert SECRET not in redact(separator.join(several))


@given(urls)
def test_redacting_twice_changes_nothing(url):
    assert redact(redact(url)) == redact(url)


@given(urls)
def test_a_password_in_a_repr_does_not_survive(url):
    assert SECRET not in redact(repr({"URL": url}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://:pw@host:6379/0", "redis://:***@host:6379/0"),
        ("amqp://guest:p@ss:w@rd@host//", "amqp://guest:***@host//"),
        ("amqp://me@corp:pw@host//", "amqp://me@corp:***@host//"),
        ("a redis://u:x@h/0 and b amqp://v:y@g//", "a redis://u:***@h/0 and b amqp://v:***@g//"),
    ],
)
def test_the_rest_of_the_url_can_still_be_read(text, expected):
    assert redact(text) == expected


@pytest.mark.parametrize(
    "text",
    ["redis://host:6379/0", "Error 111 connecting to host:6379.", "amqp://guest@host//", "", "me@host"],
)
def test_a_text_without_a_password_stays_as_it_is(text):
    assert redact(text) == text


def test_close_names_are_offered():
    assert suggest("defualt", ["default", "llm"]) == " (did you mean 'default'?)"
    assert suggest("taks", ["task", "tasks"]) == " (did you mean 'tasks' or 'task'?)"


def test_nothing_is_offered_where_nothing_is_close():
    assert suggest("default", ["zzz"]) == ""
    assert suggest("default", []) == ""


def test_no_more_names_are_offered_than_asked_for():
    assert suggest("task", ["task1", "task2", "task3"], most=1).count("task") == 1
