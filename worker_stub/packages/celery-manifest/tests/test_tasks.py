from __future__ import annotations

import datetime
import enum

import pytest
from pydantic import BaseModel, SecretStr
from typing_extensions import deprecated

from celery_manifest import ManifestError


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Author(BaseModel):
    name: str


class Login(BaseModel):
    name: str
    password: SecretStr


def test_bound_autoretry_and_pydantic_tasks_show_the_parameters_a_sender_gives(app, described):
    @app.task(shared=False, name="t", bind=True, autoretry_for=(OSError,), pydantic=True)
    def task(self, author: Author, colour: Colour = Colour.RED) -> Author: ...

    parameters = described()["parameters"]
    assert parameters["x-positional"] == ["author", "colour"]
    assert parameters["required"] == ["author"]
    assert parameters["properties"]["colour"]["default"] == "red"
    assert described()["returns"]["$ref"] == "#/$defs/Author"


def test_class_based_tasks_show_the_parameters_of_run(app, described):
    class Resize(app.Task):
        """Resize a picture.

        And more.
        """

        name = "t"

        def run(self, width: int, *, crop: bool = False) -> None: ...

    app.register_task(Resize())
    entry = described()
    assert entry["description"] == "Resize a picture."
    assert list(entry["parameters"]["properties"]) == ["width", "crop"]
    assert entry["parameters"]["x-positional"] == ["width"]


def test_description_is_the_first_paragraph_on_one_line(app, described):
    @app.task(shared=False, name="t")
    def task() -> None:
        """Do this
        and that.

        Details.
        """

    assert described()["description"] == "Do this and that."


def test_a_task_without_docstring_has_no_description(app, described):
    class Silent(app.Task):
        name = "t"

        def run(self) -> None: ...

    app.register_task(Silent())
    assert described()["description"] == ""


def test_only_options_that_the_task_sets_itself_are_named(app, described):
    app.conf.update(task_ignore_result=True, task_time_limit=300, task_default_rate_limit="5/s")

    @app.task(shared=False, name="t", ignore_result=False, compression="gzip", soft_time_limit=20)
    def task() -> None: ...

    assert described()["options"] == {"compression": "gzip", "ignore_result": False, "soft_time_limit": 20}


def test_every_option_of_the_manifest_can_be_set(app, described):
    class Careful(app.Task):
        abstract = True

    @app.task(
        shared=False,
        name="t",
        base=Careful,
        rate_limit="10/m",
        serializer="yaml",
        time_limit=60,
        expires=datetime.timedelta(minutes=1.5),
    )
    def task() -> None: ...

    task.priority = 3
    assert described()["options"] == {
        "expires": 90,
        "priority": 3,
        "rate_limit": "10/m",
        "serializer": "yaml",
        "time_limit": 60,
    }


def test_a_moment_is_no_option_of_all_messages_to_come(app, described):
    @app.task(shared=False, name="t", expires=datetime.datetime(2024, 5, 1))
    def task() -> None: ...

    assert described()["options"] == {}


@pytest.mark.parametrize(
    ("option", "said"), [(True, ""), ("use another", "use another"), (False, None), (None, None)]
)
def test_the_option_deprecated_is_true_or_the_reason(app, described, option, said):
    @app.task(shared=False, name="t", deprecated=option)
    def task() -> None: ...

    assert described()["deprecated"] == said


def test_a_function_that_python_calls_deprecated_is_a_deprecated_task(app, described):
    @app.task(shared=False, name="t", autoretry_for=(OSError,))
    @deprecated("use another")
    def task(number: int) -> None: ...

    assert described()["deprecated"] == "use another"
    assert described()["parameters"]["required"] == ["number"]


def test_a_class_that_python_calls_deprecated_is_a_deprecated_task_but_its_children_are_not(app):
    from celery_manifest.tasks import deprecated as reason

    @deprecated("old")
    class Old(app.Task):
        name = "t"

    with pytest.warns(DeprecationWarning, match="old"):
        old, new = Old(), type("New", (Old,), {"name": "u"})()
    assert (reason(old), reason(new)) == ("old", None)


def test_an_odd_mark_of_deprecation_is_refused(app, described):
    @app.task(shared=False, name="t", deprecated=2025)
    def task() -> None: ...

    with pytest.raises(ManifestError, match="of the task t must be True or the reason as a text, not 2025"):
        described()


def test_secrets_are_sensitive_and_so_is_what_the_task_names(app, described):
    @app.task(shared=False, name="t", sensitive=["pin"])
    def task(
        token: SecretStr,
        pin: str,
        login: Login,
        tokens: dict[str, list[SecretStr]],
        spare: SecretStr | None = None,
        note: str = "",
    ) -> None: ...

    assert described()["sensitive"] == ["login", "pin", "spare", "token", "tokens"]


def test_the_default_of_a_sensitive_parameter_is_not_told(app, described):
    @app.task(shared=False, name="t", sensitive=["pin"])
    def task(pin: str = "0000", token: SecretStr = SecretStr("hidden"), note: str = "") -> None: ...  # noqa: B008

    properties = described()["parameters"]["properties"]
    assert [name for name, schema in properties.items() if "default" in schema] == ["note"]


@pytest.mark.parametrize("option", ["pin", 5, [5]])
def test_sensitive_parameters_are_a_list_of_names(app, described, option):
    @app.task(shared=False, name="t", sensitive=option)
    def task(pin: str) -> None: ...

    with pytest.raises(ManifestError, match="must be a list of parameter names"):
        described()


def test_a_misspelt_sensitive_parameter_is_refused(app, described):
    @app.task(shared=False, name="t", sensitive=["pinn"])
    def task(pin: str) -> None: ...

    with pytest.raises(ManifestError, match=r"calls \['pinn'\] sensitive .* its parameters are \['pin'\]"):
        described()


def test_secrets_that_have_no_name_are_refused(app, described):
    @app.task(shared=False, name="t")
    def task(*tokens: SecretStr, **logins: Login) -> None: ...

    with pytest.raises(ManifestError, match=r"The task t takes secrets in \*args"):
        described()


def test_whatever_is_wrong_with_a_task_is_told_with_its_name(app, described):
    @app.task(shared=False, name="t")
    def task() -> None: ...

    task.run.__doc__ = 5
    with pytest.raises(ManifestError, match="The task t cannot be described"):
        described()
