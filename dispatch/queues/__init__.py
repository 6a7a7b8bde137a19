"""What operators do with the registry's queues on all brokers and workers (look, declare, delete, empty, pause, make
workers consume, give accounts their rights), not how one talks to a single broker or worker (``client``).
"""

from dispatch.queues.broker_accounts import Account, BrokerAccounts, accounts
from dispatch.queues.live_state import Sight, sights
from dispatch.queues.operations import Outcome, declare, delete, peek, purge, set_paused
from dispatch.queues.overview import Line, Seen, look, overview, unreachable
from dispatch.queues.worker_commands import Launch, launches, launches_for
from dispatch.queues.worker_sync import Plan, Step, carry_out, plan, renew_pools

__all__ = [
    "Account",
    "BrokerAccounts",
    "Launch",
    "Line",
    "Outcome",
    "Plan",
    "Seen",
    "Sight",
    "Step",
    "accounts",
    "carry_out",
    "declare",
    "delete",
    "launches",
    "launches_for",
    "look",
    "overview",
    "peek",
    "plan",
    "purge",
    "renew_pools",
    "set_paused",
    "sights",
    "unreachable",
]
