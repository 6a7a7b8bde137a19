"""The registry against what workers offer (manifests in, routing file and typed stubs out, where both disagree), not
what operators write down as a document (``configuration``).
"""

from dispatch.contract.asyncapi import asyncapi_document
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
    "asyncapi_document",
    "misfits",
    "routing_document",
    "sync",
    "verify",
]
