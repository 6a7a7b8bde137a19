"""Calls are those that Celery checks and the worker runs, whatever stands in front of a task's function."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import pytest
from celery import Task
from pydantic import BaseModel, SecretStr

P, R = ParamSpec("P"), TypeVar("R")


class Author(BaseModel):
    name: str


def handing_on(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        """Wrap it."""
        try:
            return function(*args, **kwargs)
        except OSError:
            logging.info("again, %s", args)
            return function(*args, **kwargs)

    return wrapper


def handing_on_by_name(function):
    @functools.wraps(function)
    def wrapper(**kwargs):
        return function(**kwargs)

    return wrapper


def handing_on_by_position(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    return wrapper


def for_tenant(function):
    @functools.wraps(function)
    def wrapper(tenant, *args, dry=False, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def with_session(function: Callable[Concatenate[object, P], R]) -> Callable[P, R]:
    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(object(), *args, **kwargs)

    return wrapper


def taking_one(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        kwargs.pop("request_id", None)
        return function(*args, **kwargs)

    return wrapper


def of_its_own(function):
    @functools.wraps(function)
    def wrapper(first, second=2):
        return function(first + second)

    return wrapper


def passing_another_on(function):
    bound = functools.partial(function, 1)

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return bound(*args, **kwargs)

    return wrapper


def with_self(function):
    @functools.wraps(function)
    def wrapper(self, *args, **kwargs):
        return function(self, *args, **kwargs)

    return wrapper


def saying_so(function):
    wrapper = taking_one(function)
    wrapper.__signature__ = inspect.signature(function)
    return wrapper


STRICT = {"x-positional": ["number", "text"], "required": ["number"], "additionalProperties": False}
WITH_TENANT = {**STRICT, "x-positional": ["tenant", "number", "text"], "required": ["tenant", "number"]}
OPEN = {"x-positional": [], "x-variadic": {}, "required": [], "additionalProperties": True}


CELERYS_OWN = pytest.mark.parametrize(
    "options", [{}, {"autoretry_for": (OSError,)}, {"pydantic": True}], ids=["plain", "autoretry", "pydantic"]
)


@pytest.mark.parametrize(
    ("decorators", "expected"),
    [
        ([handing_on], STRICT),
        ([handing_on, handing_on], STRICT),
        ([saying_so], STRICT),
        ([with_session], OPEN),
        ([handing_on, with_session], OPEN),
        ([with_session, handing_on], OPEN),
        ([taking_one], OPEN),
        ([passing_another_on], OPEN),
        ([for_tenant], WITH_TENANT),
        ([handing_on_by_name], {**STRICT, "x-positional": []}),
        ([handing_on_by_position], {**STRICT, "x-positional-only": ["number", "text"]}),
        ([of_its_own], {**STRICT, "x-positional": ["first", "second"], "required": ["first"]}),
    ],
)  # fmt: skip
@CELERYS_OWN
def test_a_decorator_is_seen_as_celery_sees_it(app, described, decorators, expected, options):
    def task(number: int, text: str = "x") -> int: ...

    app.task(shared=False, name="t", **options)(
        functools.reduce(lambda found, each: each(found), decorators, task)
    )
    parameters = described()["parameters"]
    assert {key: parameters[key] for key in expected} == expected
    assert ("x-variadic" in parameters) == ("x-variadic" in expected)
    assert described()["returns"] == {"type": "integer"}


@pytest.mark.parametrize(
    ("decorator", "expected"),
    [(handing_on, STRICT), (saying_so, STRICT), (taking_one, OPEN), (with_self, STRICT)],
)
@CELERYS_OWN
def test_a_decorator_of_a_bound_task_too(app, described, decorator, expected, options):
    def task(self, number: int, text: str = "x") -> int: ...

    app.task(shared=False, name="t", bind=True, **options)(decorator(task))
    parameters = described()["parameters"]
    assert {key: parameters[key] for key in expected} == expected


def test_a_parameter_that_a_decorator_takes_is_among_those_of_the_task(app, described):
    @app.task(shared=False, name="t")
    @for_tenant
    def task(number: int) -> None: ...

    assert list(described()["parameters"]["properties"]) == ["tenant", "number", "dry"]


def test_what_a_wrapper_may_give_need_not_be_given_and_keeps_its_type(app, described):
    @app.task(shared=False, name="t")
    @with_session
    def task(session: object, number: int, text: str = "x") -> None: ...

    parameters = described()["parameters"]
    assert parameters["required"] == []
    assert parameters["properties"]["number"] == {"type": "integer"}
    assert parameters["properties"]["text"] == {"type": "string", "default": "x"}


def test_a_secret_behind_an_open_wrapper_is_taken_by_name_alone(app, described):
    @app.task(shared=False, name="t")
    @with_session
    def task(session: object, token: SecretStr) -> None: ...

    entry = described()
    assert entry["sensitive"] == ["token"]
    assert "x-variadic" not in entry["parameters"]


class Handing(Task):
    def __call__(self, *args, **kwargs):
        with logging.Handler().lock:
            return self.run(*args, **kwargs)


class Further(Handing):
    def __call__(self, *args, **kwargs):
        return super().__call__(*args, **kwargs)


class OfTenant(Task):
    def __call__(self, *args, tenant=None, **kwargs):
        return super().__call__(*args, **kwargs)


class Taking(Task):
    def __call__(self, *args, **kwargs):
        kwargs.pop("tenant", None)
        return self.run(*args, **kwargs)


class TakingFurther(Taking):
    def __call__(self, *args, **kwargs):
        return super().__call__(*args, **kwargs)


class OfItsOwn(Task):
    def __call__(self, first, second):
        return self.run(first + second)


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        (Handing, STRICT),
        (Further, STRICT),
        (OfTenant, STRICT),
        (Taking, OPEN),
        (TakingFurther, OPEN),
        (OfItsOwn, {**OPEN, "additionalProperties": False}),
    ],
)
@pytest.mark.parametrize("options", [{}, {"autoretry_for": (OSError,)}], ids=str)
def test_a_call_of_a_base_is_heard_beside_the_function(app, described, base, expected, options):
    @app.task(shared=False, name="t", base=base, **options)
    def task(number: int, text: str = "x") -> None: ...

    parameters = described()["parameters"]
    assert {key: parameters[key] for key in expected} == expected
    names = {OfTenant: ["number", "text", "tenant"], OfItsOwn: ["first", "second", "number", "text"]}
    assert list(parameters["properties"]) == names.get(base, ["number", "text"])


def test_a_class_based_task_with_a_call_of_its_own(app, described):
    class Resize(app.Task):
        name = "t"

        def run(self, width: int) -> None: ...

        def __call__(self, *args, **kwargs):
            return self.run(*args, **kwargs)

    app.register_task(Resize())
    assert described()["parameters"]["x-positional"] == ["width"]


@pytest.mark.parametrize(
    ("annotation", "default", "schema"),
    [
        (str, None, {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}),
        (int, "", {"anyOf": [{"type": "integer"}, {"const": ""}], "default": ""}),
        (list, None, {"anyOf": [{"type": "array", "items": {}}, {"type": "null"}], "default": None}),
        (str | None, None, {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}),
        (int, 5, {"type": "integer", "default": 5}),
        (float, 1, {"type": "number", "default": 1}),
        (Author, Author(name="x"), {"$ref": "#/$defs/Author", "default": {"name": "x"}}),
    ],
    ids=str,
)  # fmt: skip
def test_a_parameters_own_default_is_accepted(app, described, annotation, default, schema):
    def task(value=default) -> None: ...

    task.__annotations__["value"] = annotation
    app.task(shared=False, name="t")(task)
    assert described()["parameters"]["properties"]["value"] == schema


def test_the_default_of_a_sensitive_parameter_is_accepted_and_not_told(app, described):
    @app.task(shared=False, name="t", sensitive=["pin"])
    def task(pin: int = "0000", token: SecretStr = None) -> None: ...

    entry = described()
    assert "0000" not in str(entry)
    assert entry["parameters"]["properties"]["pin"]["anyOf"] == [{"type": "integer"}, {"type": "string"}]
    assert {"type": "null"} in entry["parameters"]["properties"]["token"]["anyOf"]
