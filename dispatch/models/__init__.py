"""Rows, constraints and querysets; what is done with them stands in the modules above."""

from dispatch.models.base import RegistryVersion
from dispatch.models.outbox import OutboxMessage
from dispatch.models.registry import Manifest, Route, TaskDefinition
from dispatch.models.topology import Binding, Exchange, Queue
from dispatch.models.triggers import Trigger, TriggerArgument, TriggerCondition

__all__ = [
    "Binding",
    "Exchange",
    "Manifest",
    "OutboxMessage",
    "Queue",
    "RegistryVersion",
    "Route",
    "TaskDefinition",
    "Trigger",
    "TriggerArgument",
    "TriggerCondition",
]
