"""The pytest plugin: the fixture ``dispatched``.

It is loaded in every pytest run where the package is installed, and imports nothing of Django until a test runs in
a project that has ``dispatch`` among its apps.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from dispatch.testing.dispatched import Dispatched


@pytest.fixture
def dispatched() -> Iterator[Dispatched]:
    """What the test sends, with assertions on it, and the registry it is sent by."""
    if not _is_installed():
        pytest.fail(
            "The fixture `dispatched` needs Django with 'dispatch' in INSTALLED_APPS: set DJANGO_SETTINGS_MODULE, and "
            "install pytest-django, which sets Django up.",
            pytrace=False,
        )
    from dispatch.testing.dispatched import Dispatched

    with Dispatched() as found:
        yield found


def _is_installed() -> bool:
    if "django.apps" not in sys.modules:
        return False
    from django.apps import apps

    return apps.ready and apps.is_installed("dispatch")
