from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch.core.redaction import ascii_only, redact, storable

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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://host:6379/0?password=s3cr3t", "redis://host:6379/0?password=***"),
        ("amqps://h/?ssl_keyfile_password=s3cr3t&x=1", "amqps://h/?ssl_keyfile_password=***&x=1"),
        ("https://h/?a=1&access_token=s3cr3t done", "https://h/?a=1&access_token=*** done"),
        ("sqs://h/?aws_secret_key=s3/cr@3t", "sqs://h/?aws_secret_key=***"),
        ("redis://:pw@h/0?PASSWORD=s3cr3t", "redis://:***@h/0?PASSWORD=***"),
        ("https://h/?next=/a?password=s3cr3t?&b=1", "https://h/?next=/a?password=***&b=1"),
    ],
)
def test_no_credential_of_a_query_survives_and_the_rest_can_be_read(text, expected):
    assert redact(text) == expected


@pytest.mark.parametrize("text", ["sqs://AKIA:se/cr@", "sqs://AKIA:se/cr@eu-west-1/queue"])
def test_a_secret_key_with_a_slash_does_not_survive(text):
    assert "se/cr" not in redact(text)


@pytest.mark.parametrize(
    "part", ["x", "a://", "a://b:", "a://b:c@", "?", "?password", "?a&", "&token=", ":@", "é"]
)
def test_a_long_text_of_any_shape_is_read_once(part):
    """An error may quote what a user wrote: were a text read anew from each of its characters, this would not end."""
    text = part * (1_000_000 // len(part))
    assert SECRET not in redact(f"{text} redis://u:{SECRET}@h/?a=1&my_token={SECRET}")


@given(st.text(), st.integers(0, 20))
def test_a_storable_text_holds_nothing_that_a_database_refuses_and_fits_its_column(text, length):
    kept = storable(f"{text}\x00{text}\ud800", length)
    assert len(kept) <= length
    assert "\x00" not in kept
    assert kept.encode().decode() == kept  # UTF-8 has no half pairs


def test_a_text_that_every_database_stores_stays_as_it_is():
    assert storable("Grüße 🎉\n") == "Grüße 🎉\n"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_json_text_in_ascii_means_the_same(value):
    text = json.dumps(value, ensure_ascii=False)
    assert ascii_only(text).isascii()
    assert json.loads(ascii_only(text)) == value
