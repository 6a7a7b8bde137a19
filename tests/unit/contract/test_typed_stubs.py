from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch.contract.typed_stubs import HEADER, module, registered
from dispatch.core import manifest
from dispatch.core.manifest import Task
from dispatch.exceptions import ConfigurationError
from tests.support.offers import OFFERS, TEXT, closed
from tests.support.registry import PARAMETERS, TASK, make_task


def body(*offers):
    return module(offers).removeprefix(HEADER)


def test_a_task_becomes_a_function_with_its_parameters_and_a_name():
    offer = Task(TASK, "Summarise a note.", PARAMETERS)
    assert (
        body(offer)
        == '''
from __future__ import annotations

from typing import Any, Final

from dispatch.api import sender

SUMMARIZE_NOTE: Final = "worker.tasks.llm.summarize_note"


@sender(SUMMARIZE_NOTE)
def summarize_note(note_id: str, text: str, sentences: int = ...) -> Any:
    """Summarise a note."""
'''
    )


def test_defaults_that_fit_stand_in_the_signature_and_others_in_the_docstring():
    text = body(*OFFERS)
    assert '    amount: float | str | Decimal = "1.50",\n' in text
    assert '    color: Color = "red",\n' in text
    assert "    address: Address | None = None,\n" in text
    assert "    pair: tuple[int, str] = ...,\n" in text
    assert "    weights: Mapping[str, float] = ...,\n" in text
    assert (
        '    """Take everything there is.\n\n    note: Whose, or which.\n    pair: Default: [1, "a"]\n'
        in text
    )
    assert "    weights: How much.\n" in text


def test_the_default_of_a_sensitive_parameter_is_not_shown():
    parameters = closed({"token": {**TEXT, "default": "s3cret"}, "list": {"default": ["s3cret"]}})
    text = body(Task(TASK, parameters=parameters, sensitive=("token", "list")))
    assert "def summarize_note(token: str = ..., list: Any = ...) -> Any:\n" in text
    assert "s3cret" not in text


def test_every_kind_of_parameter_has_its_place():
    text = body(*OFFERS)
    assert (
        'def positions(\n    a: int,\n    b: str = "x",\n    /,\n    c: float = ...,\n    *args: int,\n'
        in text
    )
    assert "    **kwargs: bool,\n) -> Any:\n" in text
    assert "def flags(*, urgent: bool, from_: str = ...) -> int | None:\n" in text
    assert '@sender(FLAGS, renamed={"from_": "from"})\n' in text
    assert "def print_(*args: Any, **kwargs: Any) -> Any:\n" in text


def test_models_become_typed_dicts_before_the_functions():
    text = body(*OFFERS)
    assert (
        'class Address(TypedDict):\n    """Where someone lives."""\n\n    street: str\n'
        "    date: NotRequired[str | dt.date]\n    geo: NotRequired[AddressGeo]\n"
        "    next: NotRequired[Address | None]\n"
    ) in text
    assert '        "from": "str",\n        "a-b": "NotRequired[str]",\n' in text
    assert '    {\n        "UUID": "NotRequired[str | UUID]",\n    },\n' in text
    assert 'Tree: TypeAlias = "str | Array[Tree]"\n' in text
    assert text.index("class Address") < text.index("def ")


def test_a_function_returns_what_json_gives_back_of_the_tasks_own_value():
    text = body(*OFFERS)
    assert ") -> dict[str, list[Address]]:\n" in text
    assert "def mail_send(to: str) -> None:\n" in text
    assert "    next: NotRequired[Address | None]\n" in text
    assert text.count("(TypedDict)") == body(*(replace(offer, returns={}) for offer in OFFERS)).count(
        "(TypedDict)"
    )


def test_deprecated_tasks_are_marked():
    text = body(*OFFERS)
    assert (
        '@sender(MAIL_SEND)\n@deprecated("use worker.post.send")\ndef mail_send(to: str) -> None:\n' in text
    )
    assert "deprecated" not in body(Task(TASK))
    assert '@deprecated("its worker gives no reason")\n' in body(Task(TASK, deprecated=""))


def test_the_order_of_the_tasks_and_of_keys_that_a_database_reorders_changes_nothing():
    def reordered(value):
        if isinstance(value, dict):
            return {key: reordered(value[key]) for key in sorted(value, key=lambda key: (len(key), key))}
        return [reordered(each) for each in value] if isinstance(value, list) else value

    others = [
        replace(o, parameters=reordered(o.parameters), returns=reordered(o.returns)) for o in reversed(OFFERS)
    ]
    assert module(others) == module(OFFERS)


@pytest.mark.parametrize("width", ["88", "110", "160"])
def test_formatters_and_linters_have_nothing_to_change(width, tmp_path):
    path = tmp_path / "tasks.py"
    lines = module(OFFERS).splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("# fmt")))
    for command in (["format", "--diff"], ["check", "--select", "E,F,I,B,C4,RUF,SIM", "--ignore", "E501"]):
        ruff = [sys.executable, "-m", "ruff", command[0], "--isolated", "--line-length", width, *command[1:]]
        done = subprocess.run([*ruff, str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_module_can_be_imported_and_its_functions_tell_their_signature(tmp_path):
    path = tmp_path / "some_tasks.py"
    path.write_text(module(OFFERS), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("some_tasks", path)
    tasks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tasks)
    assert tasks.POST_SEND == tasks.post_send.name == "worker.post.send"
    assert tasks.everything.__doc__.startswith("Take everything there is.\n")
    assert repr(tasks.flags) == "<Sender of worker.tasks.flags>"


# -- where the tasks come from ------------------------------------------------------------------------


def test_the_registry_offers_what_may_be_sent(db, django_assert_num_queries):
    make_task()
    make_task("worker.tasks.off", enabled=False)
    make_task("worker.tasks.gone", retired_at="2026-01-01T00:00Z")
    with django_assert_num_queries(1):
        assert [offer.name for offer in registered()] == [TASK, "worker.tasks.off"]


@pytest.mark.parametrize("column", ["parameters", "returns"])
def test_a_schema_that_is_none_is_refused_with_its_task(column, db):
    make_task(**{column: {"type": "obj"}})
    with pytest.raises(ConfigurationError, match=rf"No stub can be written for '{TASK}': Not a JSON Schema"):
        registered()


def test_a_manifest_offers_what_the_registry_has_after_it(db):
    document = {
        "manifest": 1,
        "worker": "worker",
        "version": "1",
        "queues": [],
        "tasks": [
            {
                "name": TASK,
                "description": "Summarise.",
                "parameters": PARAMETERS,
                "returns": {"type": "string"},
                "deprecated": "gone",
            }
        ],
    }
    make_task(description="Summarise.", deprecated="gone", returns={"type": "string"})
    assert list(manifest.read(manifest.sealed(document)).tasks) == registered()


# -- whatever a worker says -----------------------------------------------------------------------------

NASTY = st.one_of(
    st.text(st.characters()),
    st.sampled_from(
        [
            '"""\nimport os\n"""',
            "\\",
            '\\"',
            '"',
            "a\nb",
            "{evil}",
            "print",
            "import",
            "__all__",
            "ﬁ",
            "\x00",
            "\ud800",
        ]
    ),
)
SCHEMAS = st.recursive(
    st.one_of(
        st.just({}),
        st.just({"type": "string", "format": "date"}),
        st.just({"type": ["integer", "null"]}),
        st.just({"$ref": "#/$defs/Node"}),
        NASTY.map(lambda text: {"const": text, "description": text}),
        NASTY.map(lambda text: {"type": "string", "default": text}),
        st.integers().map(lambda number: {"enum": [number, str(number)], "default": number}),
    ),
    lambda inner: st.one_of(
        inner.map(lambda each: {"type": "array", "items": each}),
        st.lists(inner, min_size=1, max_size=3).map(lambda some: {"anyOf": some}),
        st.dictionaries(NASTY, inner, max_size=3).map(lambda some: {"type": "object", "properties": some}),
    ),
    max_leaves=5,
)


@st.composite
def offers(draw):
    properties = draw(st.dictionaries(NASTY, SCHEMAS, max_size=4))
    names = list(properties)
    positional = draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    parameters = {
        "properties": properties,
        "required": draw(st.lists(st.sampled_from(names), unique=True)) if names else [],
        "x-positional": positional,
        "x-positional-only": positional[: draw(st.integers(0, 2))],
        "additionalProperties": draw(st.booleans()),
        "$defs": {"Node": draw(SCHEMAS), draw(NASTY): {}},
    }
    return Task(
        draw(NASTY),
        draw(NASTY),
        draw(st.sampled_from([parameters, {**parameters, "x-variadic": {}}, {}])),
        deprecated=draw(st.none() | NASTY),
        returns=draw(SCHEMAS) | {"$defs": {"Node": draw(SCHEMAS)}},
    )


@given(st.lists(offers(), min_size=1, max_size=4, unique_by=lambda offer: offer.name))
def test_any_manifest_gives_a_module_that_holds_nothing_but_its_definitions(given):
    tree = ast.parse(module(given))
    compile(tree, "tasks.py", "exec")
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    constants = [ast.literal_eval(node.value) for node in tree.body if _is_constant(node)]
    assert constants == sorted(offer.name for offer in given)
    assert len({node.name for node in functions}) == len(functions) == len(given)
    assert all(_is_stub(node) for node in functions)
    assert all(_is_harmless(node) for node in tree.body)


def _is_constant(node):
    return isinstance(node, ast.AnnAssign) and node.annotation.id == "Final"


def _is_stub(node):
    """A function whose body is its docstring, whose decorators are ours, whose defaults are literals."""
    [text] = node.body
    defaults = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
    return (
        isinstance(text.value, ast.Constant)
        and all(each.func.id in {"sender", "deprecated"} for each in node.decorator_list)
        and all(isinstance(ast.literal_eval(each), object) for each in defaults)
    )


def _is_harmless(node):
    """An import of ours, a docstring, a stub, or the definition of a type or a name."""
    calls = [each.func.id for each in ast.walk(node) if isinstance(each, ast.Call)]
    match node:
        case ast.ImportFrom(module=name):
            return name in {"__future__", "collections.abc", "decimal", "typing", "uuid", "dispatch.api"}
        case ast.Import([ast.alias("datetime", "dt")]) | ast.Expr(ast.Constant()) | ast.AnnAssign():
            return not calls
        case ast.Assign():
            return calls == ["TypedDict"]
        case ast.ClassDef(bases=[ast.Name("TypedDict")]):
            return not calls and all(isinstance(each, (ast.AnnAssign, ast.Expr)) for each in node.body)
    return isinstance(node, ast.FunctionDef)


def test_a_parameter_keeps_the_workers_name_on_the_wire():
    text = body(Task("a.b", parameters=closed({"class": TEXT, "__x": TEXT})))
    assert '@sender(B, renamed={"class_": "class", "x": "__x"})\n' in text
