"""For the tests of projects that send tasks: what was sent, without a broker.

pytest gets the fixture ``dispatched``, unittest has :class:`DispatchTestMixin`. Both give a :class:`Dispatched`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dispatch.testing.dispatched import Dispatched
    from dispatch.testing.sent_messages import Sent
    from dispatch.testing.unittest_mixin import DispatchTestMixin

__all__ = ["DispatchTestMixin", "Dispatched", "Sent"]

_WHERE = {"DispatchTestMixin": "unittest_mixin", "Dispatched": "dispatched", "Sent": "sent_messages"}


def __getattr__(name: str) -> Any:
    """Import at the first use: pytest imports this package to find its plugin, long before Django is set up."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
