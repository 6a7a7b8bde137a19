"""Routes that never decide, and tasks that have nowhere to go."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import router

from dispatch.contract.verification import findings
from dispatch.contract.verification.evidence import World
from dispatch.contract.verification.findings import Finding
from dispatch.core import route_patterns, routing
from dispatch.core.sentences import enumerated
from dispatch.core.suggestions import suggest
from dispatch.exceptions import NoDestination
from dispatch.models import Route
from dispatch.registry.snapshot_loader import unusable_routes


def check(world: World) -> Iterator[Finding]:
    """Yield what is wrong with routes. What a router callable decides, only a call can tell: those are passed over."""
    for route in world.snapshot.table.routes:
        if route.router is None and route not in world.snapshot.table.given_up:
            yield from _route(world, route)
    yield from _left_out(world)
    for name in sorted(world.sent & world.snapshot.tasks.keys()):
        yield from _destination(world, name)


def _route(world: World, route: routing.Route) -> Iterator[Finding]:
    matches = route.matcher()
    matched = [name for name in world.known if matches(name)]
    if not matched:
        yield _unmatched(world, route)
        return
    deciding = {world.snapshot.table.candidates(name)[-1] for name in matched}
    if route not in deciding:
        earlier = " and ".join(sorted(f"route {each.pattern!r} ({each.kind})" for each in deciding))
        yield findings.SHADOWED.found(
            route.pattern, kind=route.kind, earlier=earlier, tasks=enumerated(matched)
        )


def _unmatched(world: World, route: routing.Route) -> Finding:
    if route.kind == Route.Kind.EXACT:
        why = world.reason(route.pattern) or "is not registered"
        return findings.ROUTE.found(route.pattern, why=why)
    return findings.UNMATCHED.found(
        route.pattern, kind=route.kind, close=suggest(route.pattern, world.known, most=1)
    )


def _left_out(world: World) -> Iterator[Finding]:
    for route, name in world.snapshot.table.given_up.items():
        yield findings.BROKEN_ROUTE.found(route.pattern, problem=route_patterns.too_long(route.pattern, name))
    for pattern, problem in unusable_routes(router.db_for_read(Route)):
        yield findings.BROKEN_ROUTE.found(pattern, problem=problem)


def _destination(world: World, name: str) -> Iterator[Finding]:
    if world.snapshot.reads_arguments(name):
        return
    try:
        world.snapshot.destination(name)
    except NoDestination as error:
        yield findings.NOWHERE.found(name, problem=str(error))
