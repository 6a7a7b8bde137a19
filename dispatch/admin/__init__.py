"""The admin pages: what operators configure, and the log of what was sent.

:class:`DispatchedAdmin` is a base for users' own admins.
"""

from dispatch.admin import messages, queues_and_routes, task_definitions, triggers
from dispatch.admin.object_messages import DispatchedAdmin

__all__ = ["DispatchedAdmin", "messages", "queues_and_routes", "task_definitions", "triggers"]
