from __future__ import annotations

import contextlib
import inspect
import re
import socket

import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from dispatch.core.redaction import shorten
from dispatch.core.schema import misfits, validation
from dispatch.core.schema.breaking_changes import compare
from dispatch.core.schema.parameters import Parameters, takes
from dispatch.exceptions import ConfigurationError, InvalidArguments

NAMES = ("a", "b", "c", "d", "e")
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
def listener():
    """A socket that listens, and accepts nobody: who connects waits in its queue."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def connections(server):
    found = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            server.accept()[0].close()
            found += 1
    return found


@pytest.mark.parametrize("where", ["properties", "x-variadic", "$schema", "$id"])
@pytest.mark.parametrize(
    "reference", ["http://{}/x", "//{}/x", "file://{}/x", "#/$defs/Missing", "x", "#anchor"]
)
def test_a_reference_to_elsewhere_is_never_fetched_but_named_in_the_error(
    reference, where, listener, tmp_path
):
    (tmp_path / "x").write_text('{"type": "string"}')
    link = reference.format(tmp_path if "file" in reference else f"127.0.0.1:{listener.getsockname()[1]}")
    schema = {"x-positional": ["a"], "properties": {"a": {"$ref": link}}}
    if where == "x-variadic":
        schema = {"properties": {}, "x-variadic": {"$ref": link}}
    elif where in ("$schema", "$id"):
        schema |= {where: link.partition("#")[0] or "http://127.0.0.1/"}
    for ask in (Parameters.check_schema, lambda each: Parameters(each).check([1], {})):
        with pytest.raises(
            ConfigurationError, match=f"refers to {re.escape(repr(link))}, which it does not hold"
        ):
            ask(schema)
    assert connections(listener) == 0


@pytest.mark.parametrize("keyword", ["$schema", "$id"])
def test_the_name_of_a_schema_is_never_fetched(keyword, listener):
    schema = {
        keyword: f"http://127.0.0.1:{listener.getsockname()[1]}/x",
        "properties": {"a": {"type": "string"}},
    }
    Parameters.check_schema(schema)
    Parameters(schema).check([], {"a": "x"})
    assert not breaks(schema)
    assert connections(listener) == 0


def breaks(schema):
    return any(change.breaking for change in compare(schema, {**schema, "properties": {"a": {}}}))


@pytest.mark.parametrize("where", ["http://x.example/y", "y"])
def test_a_schema_within_the_schema_is_refused(where):
    with pytest.raises(ConfigurationError, match=r"holds another with an \$id"):
        Parameters.check_schema({"properties": {"a": {"$id": where, "$ref": "#"}}})


def test_a_reference_that_escaped_the_check_is_not_fetched_either(listener, monkeypatch):
    monkeypatch.setattr(validation, "check_references", lambda root: None)
    host, port = listener.getsockname()
    schema = {"properties": {"a": {"$ref": f"http://{host}:{port}/a.json"}}}
    with pytest.raises(ConfigurationError, match="Not a JSON Schema"):
        validation.compiled(schema)
    assert validation.canonical(schema, schema) is None
    assert connections(listener) == 0


def test_the_tests_above_would_see_a_connection(listener):
    with socket.create_connection(listener.getsockname()):
        assert connections(listener) == 1


@pytest.mark.parametrize(
    "first", [{}, {"type": "string"}], ids=["alone", "beside a parameter that does not fit"]
)
def test_a_schema_that_refers_to_itself_without_end_is_an_error_and_not_a_crash(first):
    schema = {
        "properties": {"first": first, "a": {"$ref": "#/$defs/Loop"}},
        "$defs": {"Loop": {"$ref": "#/$defs/Loop"}},
    }
    with pytest.raises(ConfigurationError, match="refers to '#/\\$defs/Loop' without end"):
        Parameters(schema).check([], {"a": 1, "first": 1})


def levels(count, step):
    """Definitions, each made of references to the next."""
    defs = {f"D{n}": step({"$ref": f"#/$defs/D{n + 1}"}) for n in range(count)}
    return {"properties": {"a": {"$ref": "#/$defs/D0"}}, "$defs": {**defs, f"D{count}": {"type": "integer"}}}


@pytest.mark.parametrize(
    "step",
    [
        lambda next_: {"allOf": [next_, next_]},
        lambda next_: {"anyOf": [next_, next_]},
        lambda next_: {"oneOf": [next_, next_]},
        lambda next_: {"not": {"anyOf": [next_, next_]}},
        lambda next_: {"if": next_, "then": next_, "else": next_},
        lambda next_: {"dependentSchemas": {"a": next_, "b": next_}},
        lambda next_: {"allOf": [next_], "unevaluatedProperties": False},
        lambda next_: next_,
    ],
    ids=["allOf", "anyOf", "oneOf", "not", "if", "dependentSchemas", "unevaluatedProperties", "chain"],
)
def test_references_that_multiply_or_go_too_deep_are_refused_before_they_are_followed(step):
    """Forty levels would be judged 2**40 times; the chain of thousands would overflow the stack of the process."""
    for schema in (levels(40, step), levels(13, step) if step({}) else levels(5000, step)):
        for ask in (Parameters.check_schema, lambda each: Parameters(each).check([], {"a": 1})):
            with pytest.raises(ConfigurationError, match=r"judges one value (in )?more than|without end"):
                ask(schema)


def test_what_models_are_made_of_is_judged_as_deep_as_values_go():
    """Thirty references in a row at each of the 64 levels that a value may have."""
    schema = levels(28, lambda next_: next_)
    schema["$defs"]["D28"] = {
        "anyOf": [{"type": "integer"}, {"type": "array", "items": {"$ref": "#/$defs/D0"}}]
    }
    fits, misfits = 1, "x"
    for _ in range(62):
        fits, misfits = [fits], [misfits]
    Parameters.check_schema(schema)
    Parameters(schema).check([], {"a": fits})
    with pytest.raises(InvalidArguments) as caught:
        Parameters(schema).check([], {"a": misfits})
    assert caught.value.pointer == "/kwargs/a" + "/0" * 62


@pytest.mark.parametrize(
    ("pattern", "fits", "misfits"),
    [
        (r"^\p{L}+\z", "Müller", "Müller\n"),
        (r"^\w+$", "Müller_٣", "a b"),
        (r"^[\w\-.]+$", "é-.", "é,"),
        (r"^[^\W\d_]+$", "é", "é3"),
        (r"^\W\D\Z", "…é", "é…"),
        (r"^\d$", "٣", "x"),
        (r"^[]\d]$", "]", "x"),
        (r"^[a\[]\w$", "[é", "é["),
        (r"\\w", r"\w", "w"),
        ("^([a-z]+[.]?)+@x$", "a.b@x", "a" * 5_000),
    ],
)
def test_patterns_mean_what_they_mean_to_pydantic_and_run_in_linear_time(pattern, fits, misfits):
    parameters = Parameters({"properties": {"a": {"pattern": pattern}}})
    Parameters.check_schema(parameters.schema)
    parameters.check([], {"a": fits})
    with pytest.raises(InvalidArguments, match="does not match") as caught:
        parameters.check([], {"a": misfits})
    assert shorten(repr(pattern)) in str(caught.value)
    named = Parameters({"patternProperties": {pattern: {"type": "integer"}}, "additionalProperties": False})
    named.check([], {fits: 1})
    with pytest.raises(InvalidArguments, match=re.escape(shorten(misfits, 40)[:5])):
        named.check([], {misfits: 1})


@pytest.mark.parametrize(
    ("schema", "value", "sentence", "place"),
    [
        ({"type": ["string", "null"]}, 5, "5 is not of type 'null' or 'string'", ""),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 5, "5 is not of type 'string' or 'null'", ""),
        ({"anyOf": [{"type": "string", "minLength": 3}, {"type": "null"}]}, "ab",
         "'ab' has fewer characters than the minimum of 3", ""),
        ({"anyOf": [{"$ref": "#/$defs/Cat"}, {"type": "null"}]}, {"kind": "cat", "lives": "9"},
         "'9' is not of type 'integer'", "/lives"),
        ({"anyOf": [{"$ref": "#/$defs/Cat"}, {"type": "null"}]}, {"kind": "dog"},
         "'cat' was expected, not 'dog'", "/kind"),
        ({"oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]}, {"kind": "dog", "barks": 1},
         "1 is not of type 'boolean'", "/barks"),
        ({"oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]}, {"kind": "cow"},
         "{'kind': 'cow'} is not valid under any of the given schemas", ""),
        ({"oneOf": [{"type": "integer"}, {"minimum": 1}]}, 2, "2 fits several of the given schemas", ""),
        ({"enum": ["a", 1]}, "b", "'b' is not one of ['a', 1]", ""),
        ({"const": "a"}, "b", "'a' was expected, not 'b'", ""),
        ({"minimum": 1.5}, 1, "1 is less than the minimum of 1.5", ""),
        ({"exclusiveMaximum": 1}, 1, "1 is greater than or equal to the maximum of 1", ""),
        ({"maximum": 10**30}, 10**31, f"{10**31} is greater than the maximum of {10**30}", ""),
        ({"multipleOf": 3}, 4, "4 is not a multiple of 3", ""),
        ({"maxLength": 1}, "{x}", "'{x}' has more characters than the maximum of 1", ""),
        ({"minItems": 1}, [], "[] has fewer items than the minimum of 1", ""),
        ({"format": "uuid"}, "1", "'1' is not of format 'uuid'", ""),
        ({"anyOf": [{"format": "date", "type": "string"}, {"type": "null"}]}, "1.1.2026",
         "'1.1.2026' is not of format 'date'", ""),
        ({"propertyNames": {"format": "ipv4"}}, {"1.2.3": 1}, "a key: '1.2.3' is not of format 'ipv4'", ""),
        ({"propertyNames": {"pattern": "^[+-]?\\d+$"}}, {"x": ""}, "a key: 'x' does not match '^[+-]?\\\\d+$'", ""),
        ({"uniqueItems": True}, [1, 1], "[1, 1] holds an item twice", ""),
        ({"contains": {"type": "string"}}, [1], "[1] does not hold the items", ""),
        ({"required": ["x"]}, {}, "'x' is a required property", ""),
        ({"additionalProperties": False}, {"x": 1, "y": 2}, "{'x': 1, 'y': 2} is not accepted here", ""),
        ({"properties": {"z": {}}, "additionalProperties": False}, {"x": 1, "y": 2}, "no key 'x' is accepted here", ""),
        ({"unevaluatedProperties": False}, {"{x}": 1}, "no key '{x}' is accepted here", ""),
        ({"unevaluatedItems": False}, ["{x}"], "['{x}']: Unevaluated items are not allowed", ""),
        ({"propertyNames": {"maxLength": 1}}, {"xy": 1}, "a key: 'xy' has more characters than the maximum of 1", ""),
        ({"prefixItems": [{}], "items": False}, [1, 2], "2 is not accepted here", "/1"),
        ({"not": {"type": "string"}}, "x", "'x' is what the schema excludes", ""),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_in_a_sentence_of_its_kind(schema, value, sentence, place):
    cat = {"properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}}, "required": ["kind"]}
    dog = {"properties": {"kind": {"const": "dog"}, "barks": {"type": "boolean"}}, "required": ["kind"]}
    parameters = Parameters({"properties": {"a": schema}, "$defs": {"Cat": cat, "Dog": dog}})
    with pytest.raises(InvalidArguments) as caught:
        parameters.check([], {"a": value})
    assert str(caught.value).startswith(sentence)
    assert caught.value.pointer == f"/kwargs/a{place}"
    with pytest.raises(InvalidArguments, match="sensitive values are not shown") as caught:
        parameters.check_masked([], {"a": value}, {"a"})
    assert caught.value.pointer == f"/kwargs/a{place}"


@pytest.mark.parametrize(
    "union",
    [
        {"anyOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}, {"type": "null"}]},
        {"oneOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}, {"type": "null"}]},
    ],
    ids=["anyOf", "oneOf"],
)
def test_what_does_not_fit_a_union_in_a_union_is_told_without_asking_for_each_way_through_them(union):
    """The library's own error is made of all 2**60 of them."""
    tree = {"type": "object", "properties": {"child": {"$ref": "#/$defs/Tree"}}}
    defs = {"Tree": union, "A": {**tree, "required": ["a"]}, "B": {**tree, "required": ["b"]}}
    value = {}
    for _ in range(60):
        value = {"child": value}
    with pytest.raises(InvalidArguments, match="is not valid under any of the given schemas"):
        Parameters({"properties": {"a": union}, "$defs": defs}).check([], {"a": value})


def test_the_alternative_that_was_meant_is_told_however_its_discriminator_is_placed():
    cat = {"properties": {"lives": {"type": "integer"}, "kind": {"const": "cat"}}}
    dog = {
        "properties": {"lives": {"type": "string"}, "kind": {"enum": ["dog"]}, "barks": {"type": "boolean"}}
    }
    parameters = Parameters(
        {"properties": {"a": {"oneOf": [cat, {"$ref": "#/$defs/Dog"}]}}, "$defs": {"Dog": dog}}
    )
    with pytest.raises(InvalidArguments, match="1 is not of type 'boolean'"):
        parameters.check([], {"a": {"lives": "9", "barks": 1, "kind": "dog"}})


def test_a_reference_into_a_union_is_followed_and_what_does_not_fit_is_told():
    union = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    parameters = Parameters({"properties": {"a": union, "b": {"$ref": "#/properties/a/anyOf/0"}}})
    parameters.check([], {"a": None, "b": 1})
    with pytest.raises(InvalidArguments, match="does not fit its schema"):
        parameters.check([], {"b": None})


def test_of_the_errors_in_a_union_the_first_of_each_alternative_is_asked_for(monkeypatch):
    asked, first = [], misfits.Misfits._first
    monkeypatch.setattr(
        misfits.Misfits, "_first", lambda self, at, value: asked.append(at) or first(self, at, value)
    )
    items = {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]}
    with pytest.raises(InvalidArguments, match="'x' is not of type 'integer'") as caught:
        Parameters({"properties": {"a": items}}).check([], {"a": [1, *["x"] * 20_000]})
    assert caught.value.pointer == "/kwargs/a/1"
    assert len(asked) == 3  # the whole, and each alternative


@pytest.mark.parametrize(
    "name", ["const", "enum", "default", "examples", "pattern", "patternProperties", "$ref"]
)
def test_a_parameter_may_have_the_name_of_a_keyword(name):
    parameters = Parameters({"properties": {name: {"type": "string", "pattern": r"^\w+$", "default": "a"}}})
    Parameters.check_schema(parameters.schema)
    parameters.check([], {name: "Müller"})
    with pytest.raises(InvalidArguments, match="does not match"):
        parameters.check([], {name: "a b"})


@pytest.mark.parametrize(
    "place",
    ["#/x-mine", "#/default", "#/properties/b/const", "#/properties/b/enum/0", "#/examples/0", "#/required"],
)
@pytest.mark.parametrize(
    "part", [{"multipleOf": 0}, {"pattern": 5}, {"items": 5}, {"type": "string"}], ids=repr
)
def test_a_reference_to_where_no_schema_stands_is_refused_before_it_is_stored(place, part):
    schema = {
        "properties": {"a": {"$ref": place}, "b": {"const": part, "enum": [part]}},
        "x-mine": part,
        "default": part,
        "examples": [part],
        "required": ["b"],
    }
    with pytest.raises(ConfigurationError, match=f"refers to '{re.escape(place)}', which it does not hold"):
        Parameters.check_schema(schema)


@pytest.mark.parametrize("keyword", ["definitions", "$defs"])
def test_a_schema_whose_parts_are_wrong_is_refused_wherever_they_stand(keyword):
    for schema in ({keyword: {"a": {"multipleOf": 0}}}, {"x-variadic": {"items": {"multipleOf": 0}}}):
        with pytest.raises(ConfigurationError, match="0 is less than or equal to the minimum of 0"):
            Parameters.check_schema(schema)


def test_of_many_errors_the_first_is_told():
    parameters = Parameters({"properties": {"a": {"type": "array", "items": {"type": "string"}}}})
    with pytest.raises(InvalidArguments) as caught:
        parameters.check([], {"a": [1] * 1_000})
    assert caught.value.pointer == "/kwargs/a/0"


@pytest.mark.parametrize("number", [2**64 + 1, -(10**400), 10**4000, 1.0, 1e300])
def test_a_whole_number_is_an_integer_however_large(number):
    Parameters({"properties": {"a": {"type": "integer"}}}).check([], {"a": number})
    with pytest.raises(InvalidArguments, match="is not of type 'string'"):
        Parameters({"properties": {"a": {"type": "string"}}}).check([], {"a": number})


def test_a_schema_that_no_validator_reads_is_an_error_of_the_configuration():
    deep = {}
    for _ in range(300):
        deep = {"items": deep}
    for schema in (deep, {"const": "\ud800"}, {"properties": {"\ud800": {}}}):
        with pytest.raises(ConfigurationError, match="Not a JSON Schema"):
            Parameters.check_schema({"properties": {"a": schema}})


@pytest.mark.parametrize("value", ["\ud800", {1: 2}, {"\ud800": 1, "b": {2: 3}}, print], ids=ascii)
def test_what_is_no_json_is_no_crash(value):
    """Senders turn values into JSON's types first, and name the place."""
    parameters = Parameters(
        {"properties": {"a": {"type": "object", "additionalProperties": {"type": "string"}}}}
    )
    with pytest.raises(InvalidArguments):
        parameters.check([], {"a": value})


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1_500 + "]" * 1_500,
        '{"maximum": 1%s}' % ("0" * 5_000),
        "[]",
        "5",
        "{",
        '{"properties": 5}',
        '{"required": 5}',
    ],
    ids=lambda text: text[:12],
)
def test_a_text_that_holds_no_schema_is_told_and_names_no_parameter(text):
    parameters = Parameters(text)
    assert parameters.unreadable
    assert parameters.problem == parameters.unreadable
    assert (parameters.names, parameters.required, parameters.positional, parameters.positional_only) == (
        (), (), (), frozenset()
    )  # fmt: skip


def test_the_text_of_a_schema_is_read_when_it_is_asked_for():
    parameters = Parameters('{"properties": {"a": {"type": "integer"}}, "required": ["a"]}')
    assert "_read" not in vars(parameters)
    assert (parameters.names, parameters.problem) == (("a",), "")
    with pytest.raises(InvalidArguments, match="'a' is missing"):
        parameters.check([], {})


def test_what_is_not_asked_is_not_compiled():
    """A process that has hundreds of tasks and sends one pays for one."""
    parameters = Parameters({"properties": {"a": {"$ref": "#/$defs/Missing"}}})
    assert parameters.names == ("a",)


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
