"""The registry against what the workers offer: imports their manifests, exports the routing that they read."""

from dispatch.contract.live_manifests import ask_running
from dispatch.contract.manifest_sync import Synced, sync
from dispatch.contract.routing_file import routing_document
from dispatch.contract.trigger_mapping import misfits
from dispatch.contract.verification import KINDS, Finding, Report, TaskUse, verify

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
