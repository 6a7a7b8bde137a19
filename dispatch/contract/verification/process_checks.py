"""Whether the outbox is relayed, and its results are collected."""

from __future__ import annotations

from collections.abc import Iterator

from django.utils.translation import override

from dispatch import health
from dispatch.contract.verification import findings
from dispatch.contract.verification.evidence import World
from dispatch.contract.verification.findings import Finding

KINDS = {
    "relay": findings.UNRELAYED,
    "overdue": findings.OVERDUE,
    "dead": findings.DEAD,
    "collector": findings.UNCOLLECTED,
}


def check(world: World) -> Iterator[Finding]:
    """Yield what is wrong just now, be it that nobody runs."""
    with override("en"):  # as all findings are
        problems = list(health.look(world.using).problems())
    for problem in problems:
        yield KINDS[problem.kind].found(problem.subject, problem=problem.sentence)
