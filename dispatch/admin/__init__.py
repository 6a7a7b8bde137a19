"""The admin pages: what operators configure, and the log of what was sent.

Each class can be the base of a project's own, which is registered in its place; :class:`DispatchedAdmin` is a base for
the admins of other models.
"""

from dispatch.admin.manifests import ManifestAdmin
from dispatch.admin.messages import OutboxMessageAdmin
from dispatch.admin.object_messages import DispatchedAdmin
from dispatch.admin.processes import ProcessAdmin
from dispatch.admin.queues import ExchangeAdmin, QueueAdmin
from dispatch.admin.routes import RouteAdmin
from dispatch.admin.task_definitions import TaskDefinitionAdmin
from dispatch.admin.triggers import TriggerAdmin

__all__ = [
    "DispatchedAdmin",
    "ExchangeAdmin",
    "ManifestAdmin",
    "OutboxMessageAdmin",
    "ProcessAdmin",
    "QueueAdmin",
    "RouteAdmin",
    "TaskDefinitionAdmin",
    "TriggerAdmin",
]
