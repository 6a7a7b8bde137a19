"""The registry against what the workers offer: imports their manifests, exports the routing that they read."""

from dispatch.contract.mapping import misfits
from dispatch.contract.routing import routing_document
from dispatch.contract.running import ask_running
from dispatch.contract.syncing import Synced, sync
from dispatch.contract.verifying import KINDS, Finding, Report, TaskUse, verify

__all__ = [
    "KINDS",
    "Finding",
    "Report",
    "Synced",
    "TaskUse",
    "ask_running",
    "misfits",
    "routing_document",
    "sync",
    "verify",
]
