"""The admin pages: what operators configure, and the log of what was sent.

:class:`DispatchedAdmin` is a base for users' own admins.
"""

from dispatch.admin import messages, registry, tasks, triggers
from dispatch.admin.objects import DispatchedAdmin

__all__ = ["DispatchedAdmin", "messages", "registry", "tasks", "triggers"]
