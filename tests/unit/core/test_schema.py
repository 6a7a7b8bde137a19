from __future__ import annotations

import inspect
import socket

import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from dispatch.core.schema import Parameters, takes
from dispatch.exceptions import ConfigurationError, InvalidArguments

NAMES = ("a", "b", "c", "d", "e")
REMOTE = "http://127.0.0.1:9/schema.json"
PAIR = {
    "type": "object",
    "properties": {
        "note_id": {"type": "string"},
        "options": {"type": "object", "properties": {"a/b": {"type": "array", "items": {"type": "integer"}}}},
    },
    "required": ["note_id"],
    "additionalProperties": False,
    "x-positional": ["note_id", "options"],
}


@st.composite
def signatures(draw):
    """Any signature a task may have."""
    kinds = draw(st.lists(st.sampled_from(["word", "only"]), max_size=len(NAMES)))
    first_word = draw(st.integers(0, kinds.count("word")))
    parameters, optional = [], False
    for index, name in enumerate(NAMES[: kinds.count("word")]):
        optional = draw(st.booleans()) or optional
        default = None if optional else inspect.Parameter.empty
        kind = (
            inspect.Parameter.POSITIONAL_ONLY
            if index < first_word
            else inspect.Parameter.POSITIONAL_OR_KEYWORD
        )
        parameters.append(inspect.Parameter(name, kind, default=default))
    if draw(st.booleans()):
        parameters.append(inspect.Parameter("rest", inspect.Parameter.VAR_POSITIONAL))
    for name in NAMES[kinds.count("word") : len(kinds)]:
        default = draw(st.sampled_from([None, inspect.Parameter.empty]))
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default))
    if draw(st.booleans()):
        parameters.append(inspect.Parameter("more", inspect.Parameter.VAR_KEYWORD))
    return inspect.Signature(parameters)


def schema_of(signature):
    """The schema of a signature as the manifest's format has it, every parameter taking anything."""
    by_kind = {
        kind: [p for p in signature.parameters.values() if p.kind is kind] for kind in inspect._ParameterKind
    }
    first = by_kind[inspect.Parameter.POSITIONAL_ONLY]
    words, only = by_kind[inspect.Parameter.POSITIONAL_OR_KEYWORD], by_kind[inspect.Parameter.KEYWORD_ONLY]
    named = (*first, *words, *only)
    schema = {
        "type": "object",
        "properties": {p.name: {} for p in named},
        "required": [p.name for p in named if p.default is inspect.Parameter.empty],
        "additionalProperties": bool(by_kind[inspect.Parameter.VAR_KEYWORD]),
        "x-positional": [p.name for p in (*first, *words)],
        "x-positional-only": [p.name for p in first],
    }
    return schema | ({"x-variadic": {}} if by_kind[inspect.Parameter.VAR_POSITIONAL] else {})


def accepts(check, *given):
    try:
        check(*given)
    except (TypeError, InvalidArguments):
        return False
    return True


@given(
    signatures(),
    st.lists(st.integers(), max_size=6),
    st.dictionaries(st.sampled_from([*NAMES, "other"]), st.integers(), max_size=4),
)
def test_a_call_is_accepted_exactly_when_python_could_bind_it(signature, args, kwargs):
    schema = schema_of(signature)
    # `def f(a, /, **more)` takes a second `a` by name, as one of `more`: refused here, see below
    assume(not schema["additionalProperties"] or not {*schema["x-positional-only"]} & kwargs.keys())
    expected = accepts(lambda: signature.bind(*args, **kwargs))
    event(f"Python binds it: {expected}")
    assert accepts(Parameters(schema).check, args, kwargs) == expected


POSITION_ONLY = {
    "properties": {"a": {"type": "integer"}, "b": {}},
    "required": ["a"],
    "x-positional": ["a", "b"],
    "x-positional-only": ["a"],
}


def test_what_is_taken_by_position_only_is_refused_by_name_even_where_any_name_is_taken():
    Parameters(POSITION_ONLY).check([1], {"b": 2, "more": 3})
    for args in ([], [1]):
        with pytest.raises(
            InvalidArguments, match="'a' is taken by position only: give it in args"
        ) as caught:
            Parameters(POSITION_ONLY).check(args, {"a": 2})
        assert caught.value.pointer == "/kwargs/a"


@pytest.mark.parametrize(
    ("named", "args", "kwargs"),
    [
        ({"c": 3, "b": 2, "a": 1}, (1, 2), {"c": 3}),
        ({"a": 1}, (1,), {}),
        ({"b": 2, "c": 3}, (), {"b": 2, "c": 3}),
        ({}, (), {}),
    ],
)
def test_arguments_known_by_name_are_placed_where_the_task_takes_them(named, args, kwargs):
    parameters = Parameters({"x-positional": ["a", "b", "c"], "x-positional-only": ["a", "b"]})
    assert parameters.placed(named) == (args, kwargs)


def test_what_is_missing_is_pointed_to_where_it_belongs():
    with pytest.raises(InvalidArguments, match=r"the task takes a \(by position\), b \(optional\)") as caught:
        Parameters(POSITION_ONLY).check([], {"b": 2})
    assert caught.value.pointer == "/args/0"


def test_what_does_not_fit_by_position_only_is_told_with_its_json_pointer():
    with pytest.raises(InvalidArguments, match="is not of type 'integer'") as caught:
        Parameters(POSITION_ONLY).check(["x"], {})
    assert caught.value.pointer == "/args/0"


@pytest.mark.parametrize(
    ("args", "kwargs", "pointer", "complaint"),
    [
        ([], {}, "/kwargs/note_id", r"'note_id' is missing: the task takes note_id, options \(optional\)"),
        ([5], {}, "/args/0", "5 is not of type 'string'"),
        ([], {"note_id": 5}, "/kwargs/note_id", "5 is not of type 'string'"),
        (["1", {"a/b": [1, "x"]}], {}, "/args/1/a~1b/1", "'x' is not of type 'integer'"),
        (["1"], {"options": {"a/b": ["x"]}}, "/kwargs/options/a~1b/0", "'x' is not of type 'integer'"),
        (["1"], {"note_id": "1"}, "/kwargs/note_id", "given twice, by position and by name"),
        (["1", {}, 3], {}, "/args/2", "3 positional arguments given, at most 2 accepted"),
        (
            ["1"],
            {"optoins": {}},
            "/kwargs/optoins",
            r"unknown argument 'optoins' \(did you mean 'options'\?\)",
        ),
        (["1"], {"a/b": 1}, "/kwargs/a~1b", "unknown argument 'a/b'"),
    ],
)
def test_what_does_not_fit_is_told_with_its_json_pointer(args, kwargs, pointer, complaint):
    with pytest.raises(InvalidArguments, match=complaint) as caught:
        Parameters(PAIR).check(args, kwargs)
    assert caught.value.pointer == pointer


def test_an_empty_schema_accepts_everything():
    Parameters({}).check([1, "a"], {"b": None})


def test_a_task_without_parameters_says_that_it_takes_none():
    with pytest.raises(InvalidArguments, match="the task takes no arguments"):
        Parameters({"properties": {}, "additionalProperties": False}).check([], {"a": 1})


def test_further_positional_arguments_are_checked_one_by_one_and_may_refer_to_definitions():
    parameters = Parameters(
        {
            "x-positional": ["a"],
            "properties": {"a": {}},
            "x-variadic": {"$ref": "#/$defs/Count"},
            "$defs": {"Count": {"type": "integer"}},
        }
    )
    parameters.check(["x", 1, 2], {})
    with pytest.raises(InvalidArguments, match="'y' is not of type 'integer'") as caught:
        parameters.check(["x", 1, "y"], {})
    assert caught.value.pointer == "/args/2"


def test_further_named_arguments_may_have_a_schema():
    parameters = Parameters({"properties": {}, "additionalProperties": {"type": "integer"}})
    parameters.check([], {"a": 1})
    with pytest.raises(InvalidArguments) as caught:
        parameters.check([], {"a": "x"})
    assert caught.value.pointer == "/kwargs/a"


def test_names_may_be_given_as_a_pattern():
    parameters = Parameters(
        {"patternProperties": {"^x_": {"type": "integer"}}, "additionalProperties": False}
    )
    parameters.check([], {"x_a": 1})
    for kwargs in ({"x_a": "1"}, {"y": 1}):
        with pytest.raises(InvalidArguments):
            parameters.check([], kwargs)


@pytest.fixture
def sockets(monkeypatch):
    """Every socket that is opened, as a list; each is refused."""
    opened = []

    def refuse(*args, **kwargs):
        opened.append(args)
        raise OSError("no sockets here")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    return opened


@pytest.mark.parametrize(
    "reference", [REMOTE, "https://json-schema.example/x", "#/$defs/Missing", "other.json"]
)
@pytest.mark.parametrize("where", ["properties", "x-variadic"])
def test_a_reference_to_elsewhere_is_never_fetched_but_named_in_the_error(reference, where, sockets):
    schema = {"x-positional": ["a"], "properties": {"a": {}}}
    schema |= (
        {"x-variadic": {"$ref": reference}}
        if where == "x-variadic"
        else {"properties": {"a": {"$ref": reference}}}
    )
    with pytest.raises(ConfigurationError, match="which it does not hold"):
        Parameters(schema).check([1, 2] if where == "x-variadic" else [1], {})
    assert sockets == []


@pytest.mark.parametrize(
    "first", [{}, {"type": "string"}], ids=["alone", "beside a parameter that does not fit"]
)
def test_a_schema_that_refers_to_itself_without_end_is_an_error_and_not_a_crash(first):
    schema = {
        "properties": {"first": first, "a": {"$ref": "#/$defs/Loop"}},
        "$defs": {"Loop": {"$ref": "#/$defs/Loop"}},
    }
    with pytest.raises(ConfigurationError, match="refers to itself without end"):
        Parameters(schema).check([], {"a": 1, "first": 1})


def test_the_test_above_would_see_a_socket(sockets):
    import urllib.error
    import urllib.request

    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(REMOTE)
    assert sockets


@pytest.mark.parametrize(
    "schema",
    [
        None,
        [],
        "object",
        {"type": "strnig"},
        {"type": "array"},
        {"properties": []},
        {"required": "a"},
        {"properties": {"a": {"pattern": "("}}},
        {"x-positional": "a"},
        {"x-positional": 5},
        {"x-positional": [1]},
        {"x-positional-only": "a"},
        {"x-positional-only": [1]},
        {"x-positional": ["a"], "x-positional-only": ["b"]},
        {"x-variadic": 5},
        {"x-variadic": {"type": "strnig"}},
        {"$ref": "#"},
        {"properties": {"a": {"anyOf": [{"type": "null"}, {"$ref": "#/properties/a"}]}}},
        {"x-variadic": {"$ref": "#/x-variadic"}},
    ],
    ids=repr,
)
def test_what_is_no_schema_of_parameters_is_refused_before_it_is_stored(schema):
    with pytest.raises(ConfigurationError):
        Parameters.check_schema(schema)


@given(signatures())
def test_the_schema_of_any_signature_is_accepted(signature):
    Parameters.check_schema(schema_of(signature))


@pytest.mark.parametrize(
    ("schema", "fits", "misfits"),
    [
        ({"type": "string"}, {"string", "integer", "number", ""}, {"boolean", "array", "null"}),
        ({"type": "integer"}, {"integer", ""}, {"string", "number", "boolean"}),
        ({"type": "number"}, {"integer", "number"}, {"string"}),
        ({"type": ["string", "null"]}, {"string", "integer", "null"}, {"boolean"}),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, {"integer", "null"}, {"string"}),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"integer", "string"}, {"number"}),
        ({"enum": ["a"]}, {"string", "array", "null"}, set()),
        (True, {"string", "null"}, set()),
    ],
)
def test_a_schema_takes_the_types_that_it_names(schema, fits, misfits):
    assert {kind for kind in fits | misfits if takes(schema, kind)} == fits
