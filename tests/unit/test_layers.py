from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import dispatch
from dispatch import api, core

PUBLIC = {
    "Array", "Call", "DispatchError", "HookedManager", "HookedModel", "HookedQuerySet", "InvalidArguments",
    "InvalidOption", "NoDestination", "SendError", "SendOptions", "Sender", "SentMessage", "TaskDisabled",
    "TaskRetired", "UnknownTask", "allow_triggers", "asend_task", "deprecated", "message_dead", "message_enqueued",
    "message_published", "messages_drafted", "result", "send_chain", "send_group", "send_many", "sender",
    "send_task", "suppress_triggers", "task_finished", "trigger",
}  # fmt: skip
PLAIN = [f"dispatch.core.{module.name}" for module in pkgutil.iter_modules(core.__path__)]


def loaded_after(*modules):
    """The top-level packages that a fresh interpreter holds after these imports."""
    code = f"import sys, {', '.join(modules)}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        ).stdout.split()
    )


def test_the_public_surface_is_exactly_this():
    """Whoever adds a name documents it, and whoever removes one breaks somebody's code."""
    assert set(api.__all__) == PUBLIC
    assert api.__all__ == sorted(api.__all__)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_has_a_docstring(name):
    assert inspect.getdoc(getattr(api, name))


def test_send_task_and_call_take_the_same_options_with_the_same_defaults_but_for_what_chains_ask():
    def options(function):
        return {
            name: parameter.default
            for name, parameter in inspect.signature(function).parameters.items()
            if name != "using"
        }

    assert options(api.send_task) | {"immutable": False} == options(api.Call)


def test_only_name_args_and_kwargs_may_be_given_by_position():
    by_position = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = inspect.signature(api.send_task).parameters.values()
    assert [p.name for p in parameters if p.kind is by_position] == ["name", "args", "kwargs"]


def test_core_and_exceptions_load_neither_django_nor_celery():
    loaded = loaded_after("dispatch.exceptions", *PLAIN)
    assert "dispatch" in loaded
    assert not loaded & {"django", "celery", "kombu", "django_celery_results"}


def test_the_test_above_would_see_celery():
    assert {"celery", "kombu"} <= loaded_after("dispatch.core", "celery.app.base")


@pytest.mark.parametrize("module", [*PLAIN, "dispatch.exceptions"])
def test_public_names_of_core_and_exceptions_have_docstrings(module):
    found = importlib.import_module(module)
    assert found.__doc__
    for name, value in vars(found).items():
        if not name.startswith("_") and getattr(value, "__module__", None) == module and callable(value):
            assert inspect.getdoc(value), name


def test_the_package_itself_holds_the_version_only():
    """Models imported there would raise AppRegistryNotReady in every project."""
    code = "import dispatch; print(*(name for name in vars(dispatch) if not name.startswith('__')))"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.strip() == ""
    assert dispatch.__version__
    assert "django" not in loaded_after("dispatch")


def test_every_error_is_in_one_tree_and_says_what_it_means():
    from dispatch import exceptions

    errors = [value for value in vars(exceptions).values() if inspect.isclass(value)]
    assert all(issubclass(error, exceptions.DispatchError) for error in errors)
    assert all(error.__name__ in exceptions.__doc__ for error in errors)
