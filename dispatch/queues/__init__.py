"""What operators do with queues: look at them, declare, delete, empty and pause them, make workers consume them."""

from dispatch.queues.applying import Plan, Step, carry_out, plan, renew_pools
from dispatch.queues.launching import Launch, launches
from dispatch.queues.operations import Outcome, declare, delete, peek, purge, set_paused
from dispatch.queues.overview import Line, overview

__all__ = [
    "Launch",
    "Line",
    "Outcome",
    "Plan",
    "Step",
    "carry_out",
    "declare",
    "delete",
    "launches",
    "overview",
    "peek",
    "plan",
    "purge",
    "renew_pools",
    "set_paused",
]
