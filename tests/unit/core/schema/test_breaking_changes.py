"""What is called compatible must be: hypothesis makes calls that fit the old schema and tries them on the new one."""

from __future__ import annotations

import copy
from random import Random

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from dispatch.core.schema.breaking_changes import compare, compare_returns
from dispatch.core.schema.parameters import Parameters
from dispatch.exceptions import InvalidArguments

S, INT, N = {"type": "string"}, {"type": "integer"}, {"type": "null"}
FLOAT, BOOL = {"type": "number"}, {"type": "boolean"}


def task(required=(), *, variadic=None, further=False, defs=None, positional=None, only=(), **properties):
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": further,
        "x-positional": list(properties) if positional is None else positional,
    }
    schema |= {} if variadic is None else {"x-variadic": variadic}
    schema |= {"x-positional-only": list(only)} if only else {}
    return schema | ({} if defs is None else {"$defs": defs})


def union(*schemas):
    return {"anyOf": list(schemas)}


def ref(name):
    return {"$ref": f"#/$defs/{name}"}


def model(required=("x",), further=True, **properties):
    closed = {} if further else {"additionalProperties": False}
    return {"type": "object", "properties": {"x": INT, **properties}, "required": list(required), **closed}


def told(old, new):
    return [(change.breaking, str(change)) for change in compare(old, new)]


def breaks(old, new):
    return any(change.breaking for change in compare(old, new))


@pytest.mark.parametrize(
    ("old", "new", "breaking", "sentence"),
    [
        (task(["a"], a=S), task(["a"], a=S, b=INT), False, "b is new, optional: integer"),
        (task(["a"], a=S), task(["a", "b"], a=S, b=INT), True, "b is new and required: integer"),
        (task(["a"], a=S, b=INT), task(["a"], a=S), True, "b is gone"),
        (task(a=S), task(["a"], a=S), True, "a was optional, is required"),
        (task(["a"], a=S), task(a=S), False, "a was required, is optional"),
        (task(a=INT), task(a=union(INT, N)), False, "a was integer, is integer or null"),
        (task(a=union(INT, N)), task(a=INT), True, "a was integer or null, is integer"),
        (task(a=S), task(a=union(S, INT)), False, "a was string, is string or integer"),
        (task(a=INT), task(a=FLOAT), False, "a was integer, is number"),
        (task(a=FLOAT), task(a=INT), True, "a was number, is integer"),
        (task(a=INT), task(a={}), False, "a was integer, is anything"),
        (task(a={}), task(a=INT), True, "a was anything, is integer"),
        (task(a={"enum": ["x"]}), task(a={"enum": ["x", "y"]}), False, 'a was one of "x", is one of "x", "y"'),
        (task(a={"enum": ["x", "y"]}), task(a={"enum": ["x"]}), True, 'a was one of "x", "y", is one of "x"'),
        (task(a={"const": "x"}), task(a=S), False, 'a was "x", is string'),
        (task(a=BOOL), task(a={"enum": [True, False, None]}), False, "a was boolean, is one of true, false, null"),
        (task(a={**INT, "minimum": 1}), task(a={**INT, "minimum": 0}), False, "a was integer ≥ 1, is integer ≥ 0"),
        (task(a={**INT, "minimum": 0}), task(a={**INT, "minimum": 1}), True, "a was integer ≥ 0, is integer ≥ 1"),
        (task(a={**INT, "maximum": 5}), task(a={**INT, "exclusiveMaximum": 7}), False,
         "a was integer ≤ 5, is integer < 7"),
        (task(a={**INT, "default": 1}), task(a={**INT, "default": 2}), False, "a has another default: was 1, is 2"),
        (task(a={**INT, "default": 0}), task(a={**INT, "default": False}), False,
         "a has another default: was 0, is false"),
        (task(a=S), task(a={**S, "format": "date"}), True, "a was string, is string (date)"),
        (task(a={**S, "format": "date"}), task(a=S), False, "a was string (date), is string"),
        (task(a=S), task(a={**S, "maxLength": 5}), True, "a is string as before, defined differently"),
        (task(a={"type": "array", "items": INT}), task(a={"type": "array", "items": union(INT, N)}), False,
         "a was array of integer, is array of integer or null"),
        (task(a=S), task(variadic=INT, a=S), False, "*args is new: integer"),
        (task(variadic=INT, a=S), task(a=S), True, "*args is gone: no further arguments are accepted"),
        (task(variadic=INT, a=S), task(variadic=FLOAT, a=S), False, "*args was integer, is number"),
        (task(variadic=INT, a=S), task(variadic=INT, a=S, b=INT), True,
         "*args came after argument 1, where now stand b"),
        (task(a=S), task(further=True, a=S), False, "**kwargs is new: anything"),
        (task(further=True, a=S), task(a=S), True, "**kwargs is gone: no further arguments are accepted"),
        (task(a=S, b=INT), task(further=True, a=S), True, "b can no longer be given by position"),
        (task(a=S, positional=["a"]), task(a=S, positional=[]), True, "a can no longer be given by position"),
        (task(a=S, positional=[]), task(a=S, positional=["a"]), False, ""),
        (task(a=S), task(a=S, only=["a"]), True, "a can no longer be given by name"),
        (task(a=S, only=["a"]), task(a=S), False, "a can be given by name too"),
        (task(a=S), task(a=S, b=S, only=["b"]), False, "b is new, optional: string"),
        (task(a=S, further=True), task(a=S, b={}, further=True, only=["b"]), True, "b can no longer be given by name"),
        ({}, task(a=S), True, "anything was accepted; now the arguments are checked"),
        (task(a=S), {}, False, "anything is accepted now, without a check"),
        ({**task(a=S), "patternProperties": {"^x": S}, "additionalProperties": False}, task(a=S), True, "it cannot be"),
        (task(a=S), {**task(a=S), "minProperties": 1}, True, "it cannot be shown"),
    ],
)  # fmt: skip
def test_a_change_is_told_with_whether_it_breaks_callers(old, new, breaking, sentence):
    changes = told(old, new)
    assert breaks(old, new) == breaking
    assert (
        any(text.startswith(sentence) and broken == breaking for broken, text in changes) or not sentence
    ), changes


def test_parameters_that_change_places_are_each_told_and_break_callers():
    assert told(task(a=S, b=S), task(b=S, a=S)) == [
        (True, "a was argument 1 by position, is argument 2"),
        (True, "b was argument 2 by position, is argument 1"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "breaking"),
    [
        (model(), model(), False),
        (model(), model(y=S), True),  # whoever sent a y of another kind was right
        (model(further=False), model(y=S), False),
        (model(further=False), model(["x", "y"], y=S), True),
        (model(["x", "y"], y=S), model(y=union(S, N)), False),
        (model(), model(further=False), True),
        (model(further=False), model(), False),
        (model(y=ref("M")), model(y=ref("M")), False),
        (model(y=ref("M")), model(y=union(ref("M"), N)), True),  # recursive and changed: nothing is shown
        (model(y=ref("M")), {**model(y=ref("M")), "title": "M", "description": "Holds its own kind."}, False),
        (model(y=union(ref("M"), N)), model(y=ref("M")), True),
        (model(y=ref("missing")), model(y=ref("elsewhere")), True),
    ],
)
def test_nested_models_are_compared_after_their_references_are_resolved(old, new, breaking):
    assert breaks(task(a=ref("M"), defs={"M": old}), task(a=ref("M"), defs={"M": new})) == breaking


@pytest.mark.parametrize(
    "new",
    [
        task(["a"], a=ref("T"), b=INT, defs={"T": {"type": "array", "items": ref("T")}}),
        task(a=union(ref("T"), N), defs={"T": {"type": "array", "items": ref("T")}}),
        task(
            ["a"],
            a=ref("T"),
            defs={"T": {"type": "array", "items": ref("T"), "description": "Nested."}, "M": S},
        ),
    ],
    ids=["another parameter", "optional", "description"],
)
def test_a_model_that_refers_to_itself_and_stays_breaks_nothing_whatever_changes_beside_it(new):
    assert not breaks(task(["a"], a=ref("T"), defs={"T": {"type": "array", "items": ref("T")}}), new)


def test_a_model_of_another_name_with_the_same_content_is_no_change():
    old = task(a=ref("M"), defs={"M": model()})
    renamed = task(a=ref("Other"), defs={"Other": {**model(), "title": "Other", "description": "Moved."}})
    assert not breaks(old, renamed)
    assert breaks(renamed, task(a=ref("M"), defs={"M": model(["x", "y"], y=S)}))


def test_titles_descriptions_and_the_order_of_keys_are_no_change():
    old = task(["a"], a={"type": "integer", "minimum": 1, "title": "A"})
    new = {**task(["a"], a={"minimum": 1.0, "type": "integer", "description": "How many."}), "title": "Call"}
    assert compare(old, new) == ()


def test_what_no_caller_can_notice_is_no_change_however_it_is_written():
    assert compare(task(a={**INT, "maximum": 5}), task(a={**INT, "exclusiveMaximum": 6})) == ()
    assert compare(task(a=union(S, N)), task(a={"type": ["null", "string"]})) == ()


@pytest.mark.parametrize(
    "loop", [{"$ref": "#/$defs/L"}, {"anyOf": [{"$ref": "#/$defs/L"}, N]}, {"allOf": [{"$ref": "#"}]}]
)
def test_references_without_end_are_called_breaking_and_do_not_crash(loop):
    old = task(a=S, defs={"L": loop})
    assert breaks(old, task(a=ref("L"), defs={"L": loop}))


@pytest.mark.parametrize("keyword", ["anyOf", "allOf", "oneOf", "not"])
def test_schemas_too_intricate_to_compare_are_called_breaking(keyword):
    """Each definition names the next twice, forty levels deep: whoever follows them all never ends."""

    def layers(leaf):
        twice = [[ref(f"D{n}")] * 2 for n in range(40)]
        steps = {
            f"D{n + 1}": {"not": {"anyOf": each}} if keyword == "not" else {keyword: each}
            for n, each in enumerate(twice)
        }
        return {"D0": leaf, **steps}

    assert breaks(task(a=ref("D40"), defs=layers(S)), task(a=ref("D40"), defs=layers(INT)))


def test_definitions_that_name_one_another_through_more_levels_than_can_be_compared_are_called_breaking():
    def chain(leaf):
        return {"D0": leaf, **{f"D{n}": {"type": "array", "items": ref(f"D{n - 1}")} for n in range(1, 5000)}}

    assert breaks(task(a=ref("D4999"), defs=chain(S)), task(a=ref("D4999"), defs=chain(union(S, N))))


def test_a_union_of_arrays_of_unions_is_compared():
    def layers(leaf):
        steps = {
            f"D{n}": union(
                *({"type": "array", "items": ref(f"D{n - 1}"), "maxItems": most} for most in range(1, 7))
            )
            for n in range(1, 30)
        }
        return {"D0": leaf, **steps}

    assert breaks(task(a=ref("D29"), defs=layers(S)), task(a=ref("D29"), defs=layers(INT)))


@pytest.mark.parametrize(
    ("old", "new", "breaking"),
    [
        ({}, S, False),
        (S, {}, True),
        (S, union(S, N), True),
        (union(S, N), S, False),
        (model(), model(["x", "y"], y=S), False),
        (model(["x", "y"], y=S), model(), True),
    ],
)
def test_a_return_value_may_become_narrower_for_its_readers_and_not_wider(old, new, breaking):
    assert [change.breaking for change in compare_returns(old, new)] == [breaking]


# -- soundness ---------------------------------------------------------------------------------

numbers = st.integers(-2, 3)
scalars = st.sampled_from([0, 1, 2, -1, 1.5, "a", "bb", "", True, False, None])
leaves = st.one_of(
    st.sampled_from([{}, S, INT, N, FLOAT, BOOL, {"type": ["string", "null"]},
                     {"type": ["integer", "string"]}, True, False]),
    st.builds(lambda v: {"enum": v}, st.lists(scalars, min_size=1, max_size=4)),
    st.builds(lambda v: {"const": v}, scalars),
    st.builds(lambda k, n: {"type": "integer", k: n}, st.sampled_from(
        ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]), numbers),
    st.builds(lambda k, n: {"type": "number", k: n}, st.sampled_from(["minimum", "exclusiveMaximum"]), numbers),
    st.builds(lambda n: {"type": "integer", "multipleOf": n}, st.integers(1, 4)),
    st.builds(lambda k, n: {"type": "string", k: n}, st.sampled_from(["minLength", "maxLength"]), st.integers(0, 2)),
    st.builds(lambda n: {"minimum": n}, numbers),
    st.just({"$ref": "#/$defs/M"}), st.just({"$ref": "#/$defs/T"}),
)  # fmt: skip


def _branches(inner):
    names = st.sampled_from(["p", "q"])
    return st.one_of(
        st.builds(lambda k, v: {k: v}, st.sampled_from(["anyOf", "allOf", "oneOf"]),
                  st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda v, n, k: {"type": "array", "items": v, k: n}, inner, st.integers(0, 2),
                  st.sampled_from(["minItems", "maxItems"])),
        st.builds(lambda v, w: {"type": "array", "prefixItems": v, "items": w},
                  st.lists(inner, min_size=1, max_size=2), inner),
        st.builds(lambda p, r, a: {"type": "object", "properties": p, "required": r, "additionalProperties": a},
                  st.dictionaries(names, inner, max_size=2), st.lists(names, unique=True, max_size=1), inner),
        st.builds(lambda v, w: {"not": v, **(w if isinstance(w, dict) else {})}, inner, leaves),
        st.builds(lambda p: {"type": "object", "patternProperties": {"^p": p}, "additionalProperties": False}, inner),
    )  # fmt: skip


schemas = st.recursive(leaves, _branches, max_leaves=4)
SCALARS = [0, 1, 2, -1, 1.5, "a", "bb", "", True, False, None]


def value(random, depth=2):
    kind = random.random()
    if depth == 0 or kind < 0.6:
        return random.choice(SCALARS)
    if kind < 0.8:
        return [value(random, depth - 1) for _ in range(random.randrange(4))]
    names = random.sample(["p", "q", "kids", "x"], random.randrange(3))
    return {name: value(random, depth - 1) for name in names}


def call(random):
    names = random.sample(["a", "b", "c", "d", "new"], random.randrange(5))
    args = [value(random) for _ in range(random.choice([0, 0, 1, 2, 3]))]
    return args, {name: value(random) for name in names}


#: Drawing calls one by one would take hypothesis longer than trying them.
CALLS = [call(Random(seed)) for seed in range(300)]


TREE = {"type": "object", "properties": {"kids": {"type": "array", "items": ref("T")}, "p": INT}}


@st.composite
def definitions(draw):
    tree = copy.deepcopy(TREE)
    tree["properties"]["p"] = draw(st.sampled_from([INT, S, FLOAT, union(INT, N)]))
    return {"M": draw(st.sampled_from([S, INT, model(["p"], p=INT), union(S, N)])), "T": tree}


@st.composite
def tasks(draw):
    names = draw(st.permutations(["a", "b", "c"]))[: draw(st.integers(1, 3))]
    positional = names[: draw(st.integers(0, len(names)))]
    return task(
        draw(st.lists(st.sampled_from(names), unique=True)),
        variadic=draw(st.none() | schemas),
        further=draw(st.booleans() | schemas),
        defs=draw(definitions()),
        positional=positional,
        only=positional[: draw(st.integers(0, 1))],
        **{name: draw(schemas) for name in names},
    )


@st.composite
def edits(draw, old):
    """Return a schema near ``old``: most of two schemas drawn apart have nothing in common."""
    new = copy.deepcopy(old)
    names = list(new["properties"])
    for _ in range(draw(st.integers(1, 2))):
        name, kind = draw(st.sampled_from(names)), draw(st.integers(0, 8))
        was = new["properties"].get(name, {})
        if kind == 0:
            new["properties"][name] = union(was, draw(leaves))
        elif kind == 1:
            new["properties"][name] = draw(schemas)
        elif kind == 2:
            new["properties"].pop(name, None)
        elif kind == 3:
            new["required"] = [each for each in new["required"] if each != name]
        elif kind == 4:
            new["properties"]["new"] = draw(schemas)
        elif kind == 5:
            new["x-positional"] = draw(st.permutations(new["x-positional"]))
        elif kind == 8:
            new["x-positional-only"] = new["x-positional"][: draw(st.integers(0, 2))]
        elif kind == 6:
            new["$defs"] = draw(definitions())
        else:
            new["additionalProperties"] = draw(st.booleans() | schemas)
    return new


def accepted(schema, args, kwargs):
    try:
        schema.check(args, kwargs)
    except InvalidArguments:
        return False
    return True


@settings(max_examples=settings.default.max_examples * 2, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_what_is_not_called_breaking_accepts_every_call_that_the_old_schema_accepted(data):
    old = data.draw(tasks())
    new = data.draw(edits(old) | tasks())
    assume(not breaks(old, new))
    before, after = Parameters(old), Parameters(new)
    for args, kwargs in CALLS:
        if accepted(before, args, kwargs):
            assert accepted(after, args, kwargs), (old, new, args, kwargs, compare(old, new))


@settings(suppress_health_check=list(HealthCheck))
@given(tasks())
def test_a_schema_that_stays_is_no_change(schema):
    assert compare(schema, copy.deepcopy(schema)) == ()
    assert not breaks(schema, {**copy.deepcopy(schema), "title": "Another title"})
