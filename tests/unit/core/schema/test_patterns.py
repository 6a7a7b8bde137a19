"""Patterns mean what they mean to pydantic; those that cannot be read refuse nothing that might fit."""

from __future__ import annotations

import pytest

from dispatch.core.schema.parameters import Parameters
from dispatch.core.schema.patterns import check_patterns, unread
from dispatch.exceptions import ConfigurationError, InvalidArguments

UNREAD = [
    r"^(?!admin)", r"(?<=a)b", r"^(a)\1$", r"[\p{L}--\p{Lu}]", r"[\w&&[^_]]+", r"[[:alpha:]]", r"[a~~b]", r"(?s).",
    r"(?x) a b", r"(?-u:\w)", "(", r"\w{1000}{1000}",
]  # fmt: skip


def fits(schema, value):
    try:
        Parameters({"properties": {"a": schema}}).check([], {"a": value})
    except InvalidArguments:
        return False
    return True


@pytest.mark.parametrize(
    ("pattern", "fit", "misfit"),
    [
        (r"^.{2}$", "a\r", "a\n"),  # as pydantic's own engine reads them: ECMAScript's point takes no \r
        (r"^.$", "\u2028", "\n"),
        (r"^[.]$", ".", "a"),
        (r"^\.$", ".", "a"),
        (r"^\s$", "\x85", "\ufeff"),
        (r"^\S$", "\ufeff", "\u3000"),
        (r"^\w+$", "\u0645\u06cc\u200c\u062e", "a b"),
        (r"^\W$", "²", "\u24b6"),
        (r"^\a$", "\x07", "a"),
        (r"(?i)^straße$", "STRAẞE", "x"),
        (r"^[\[]]$", "[]", "[["),
        (r"^\p{Greek}+\z", "λ", "s"),
    ],
)
def test_a_pattern_means_what_it_means_to_pydantic(pattern, fit, misfit):
    assert unread({"pattern": pattern}) == ()
    assert fits({"pattern": pattern}, fit)
    assert not fits({"pattern": pattern}, misfit)


@pytest.mark.parametrize("pattern", UNREAD)
def test_a_pattern_that_takes_no_linear_time_is_not_checked_and_its_schema_is(pattern):
    for schema in (
        {"type": "string", "pattern": pattern, "maxLength": 3},
        {"type": "object", "propertyNames": {"pattern": pattern, "maxLength": 3}},
        {"type": "object", "patternProperties": {pattern: {"type": "integer"}}, "maxProperties": 1},
    ):
        Parameters.check_schema({"properties": {"a": schema}})
        assert unread({"properties": {"a": schema}}) == (pattern,)
    assert fits({"type": "string", "pattern": pattern, "maxLength": 3}, "1 x")
    assert not fits({"type": "string", "pattern": pattern, "maxLength": 3}, "1234")


@pytest.mark.parametrize(
    "schema",
    [
        {"not": {"pattern": "^(?!b)"}},
        {"oneOf": [{"pattern": "^(?!b)"}, {"pattern": "^b"}]},
        {"if": {"pattern": "^(?!b)"}, "then": False},
        {"if": {"pattern": "^(?=b)"}, "else": False},
        {"not": {"anyOf": [{"pattern": "^(?!b)"}, {"type": "integer"}]}},
    ],
    ids=repr,
)
def test_where_a_pattern_cannot_be_read_a_text_that_may_fit_is_accepted(schema):
    assert fits(schema, "b")


def test_where_names_cannot_be_read_any_name_is_accepted():
    schema = {"patternProperties": {"^(?!b)": {"type": "integer"}}, "additionalProperties": False}
    assert fits(schema, {"a": 1})
    assert fits({**schema, "additionalProperties": {"type": "string"}}, {"a": 1})
    assert fits({"allOf": [{"patternProperties": {"^(?!b)": {}}}], "unevaluatedProperties": False}, {"a": 1})
    assert fits({"contains": {"pattern": "^(?!b)"}, "maxContains": 1}, ["a", "b"])


@pytest.mark.parametrize("pattern", UNREAD)
def test_where_somebody_writes_such_a_pattern_by_hand_the_remedy_is_told(pattern):
    check_patterns({"properties": {"a": {"pattern": "^a$"}}})
    with pytest.raises(
        ConfigurationError, match="none that takes linear time: correct it, or write it without look"
    ):
        check_patterns({"properties": {"a": {"pattern": pattern}}})
