"""Two ready groups of users: who looks, and who works on queues and messages. What people give them beside stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.apps import apps
from django.db import router

from dispatch.exceptions import ConfigurationError

VIEWERS, OPERATORS = "dispatch viewers", "dispatch operators"
#: In no group: whoever may see masked arguments is chosen by name.
GIVEN_BY_NAME = frozenset({"view_arguments_outboxmessage"})


@dataclass(frozen=True, slots=True)
class Made:
    """A group, whether it was made just now, and the permissions that were added to it."""

    group: str
    is_new: bool
    added: tuple[str, ...]


def make() -> list[Made]:
    """Make the groups where they are missing, and add the permissions that they lack; nothing is taken away.

    Raises ConfigurationError where users have no groups, or the permissions are not in the database yet.
    """
    if not apps.is_installed("django.contrib.auth"):
        raise ConfigurationError("Groups need django.contrib.auth: add it to INSTALLED_APPS.")
    views, actions = set(_views()), set(_actions())
    return [_made(VIEWERS, views), _made(OPERATORS, views | actions)]


def _views() -> Iterator[str]:
    for model in apps.get_app_config("dispatch").get_models():
        if "view" in model._meta.default_permissions:
            yield f"view_{model._meta.model_name}"


def _actions() -> Iterator[str]:
    for model in apps.get_app_config("dispatch").get_models():
        yield from (codename for codename, _name in model._meta.permissions if codename not in GIVEN_BY_NAME)


def _made(name: str, codenames: set[str]) -> Made:
    from django.contrib.auth.models import Group, Permission  # not loaded before the apps are

    using = router.db_for_write(Group)
    wanted = Permission.objects.using(using).filter(
        content_type__app_label="dispatch", codename__in=codenames
    )
    if missing := codenames - set(wanted.values_list("codename", flat=True)):
        raise ConfigurationError(
            f"The permission {min(missing)!r} is not in the database: run `manage.py migrate` first."
        )
    group, is_new = Group.objects.using(using).get_or_create(name=name)
    lacking = list(wanted.exclude(group=group))
    group.permissions.add(*lacking)
    return Made(name, is_new, tuple(sorted(permission.codename for permission in lacking)))
