"""The tables (columns, constraints, querysets, what a row checks when it is saved), not what is done with rows: to
enqueue, publish or resolve is the business of the rooms above.
"""

from dispatch.models.attempt import Attempt
from dispatch.models.outbox_message import OutboxMessage
from dispatch.models.processes import MinuteCount, Process
from dispatch.models.registry_version import RegistryVersion
from dispatch.models.resend import Resend
from dispatch.models.routes_and_tasks import Manifest, Route, TaskDefinition
from dispatch.models.topology import Binding, Exchange, Queue
from dispatch.models.triggers import Trigger, TriggerArgument, TriggerCondition

__all__ = [
    "Attempt",
    "Binding",
    "Exchange",
    "Manifest",
    "MinuteCount",
    "OutboxMessage",
    "Process",
    "Queue",
    "RegistryVersion",
    "Resend",
    "Route",
    "TaskDefinition",
    "Trigger",
    "TriggerArgument",
    "TriggerCondition",
]
