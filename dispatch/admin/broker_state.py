"""What the brokers show of queues, brought into a page after it has loaded: no page waits for a broker."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from dispatch import registry
from dispatch.admin import links, widgets
from dispatch.admin.links import Viewer
from dispatch.models import Exchange, OutboxMessage, Queue, Route, TaskDefinition

if TYPE_CHECKING:
    from dispatch.queues import Seen, Sight

MOST_ASKED = 100
SHOWN_ON = (Queue, TaskDefinition, Route, Exchange, OutboxMessage)


def look(
    site: admin.AdminSite, names: Iterable[str], kind: Literal["full", "short", "brief"] = "full"
) -> SafeString:
    """Return a place per queue that the page's script fills.

    A short one takes badge and counts, with the rest as a tooltip; a brief one the badge alone, and only for a warning.
    """
    url = links.page("dispatch_queue_seen", site)
    places = ((url, name, kind, _("asking the broker…")) for name in names if url)
    return format_html_join(
        "",
        '<span class="dispatch-live" data-url="{}" data-queue="{}" data-kind="{}" data-asking="{}"></span>',
        places,
    )


def view(site: admin.AdminSite) -> Any:
    """Return the view that the script asks: ``?queue=a&queue=b``, for those who may see a page that shows queues."""

    @transaction.non_atomic_requests
    def seen(request: HttpRequest) -> JsonResponse:
        viewer = Viewer(site, request)
        if not any(map(viewer.may_open, SHOWN_ON)):
            raise PermissionDenied
        from dispatch.queues import sights

        names = request.GET.getlist("queue")[:MOST_ASKED]
        seen = sights.of(names)
        shown = {name: _shown(sight) for name, sight in seen.items()}
        _add_remedies(viewer, seen, shown)
        known = registry.current().table.queues
        return JsonResponse(shown | {name: _stranger() for name in names if name not in known})

    return site.admin_view(seen)


def _shown(sight: Sight) -> dict[str, str]:
    kind, label = _verdict(sight.seen)
    return {
        "kind": kind,
        "label": label,
        "counts": _counts(sight.seen) if sight.last is None else _last_counts(sight.last),
        "note": sight.seen.note,
        "at": _("asked at %(time)s") % {"time": _clock(sight.age)},
    }


def _add_remedies(viewer: Viewer, seen: Mapping[str, Sight], shown: dict[str, dict[str, str]]) -> None:
    """Add, for those who may do something about it, where that is done."""
    wanted = {name: verb for name, sight in seen.items() if (verb := _remedy(sight.seen))}
    has_perm = viewer.request.user.has_perm
    if not (wanted and viewer.may_open(Queue) and has_perm("dispatch.declare_queue")):
        return
    labels = {"declare": _("declare it"), "apply": _("let workers consume it")}
    for name, pk in Queue.objects.filter(name__in=wanted).values_list("name", "pk"):
        verb = wanted[name]
        shown[name] |= {"remedy": labels[verb], "url": links.queue_action(viewer.site, verb, [pk])}


def _remedy(seen: Seen) -> str:
    """Return the action that helps, "" where none does."""
    if seen.state == "missing":
        return "declare"
    return "apply" if seen.consumers == 0 else ""


def in_words(seen: Seen) -> str:
    """Return what was seen, without the note."""
    return ": ".join(filter(None, (_verdict(seen)[1], _counts(seen))))


def _last_counts(last: Sight) -> str:
    """Return the numbers of the time when the broker could be asked."""
    return _("last known at %(time)s: %(counts)s") % {"time": _clock(last.age), "counts": _counts(last.seen)}


def _clock(age: float) -> str:
    """Return a time of day: an age would be wrong as soon as the page is left open."""
    return f"{timezone.localtime(timezone.now() - dt.timedelta(seconds=age)):%H:%M:%S}"


def _stranger() -> dict[str, str]:
    return {"kind": "unknown", "label": _("not in the registry"), "counts": "", "note": "", "at": ""}


def _verdict(seen: Seen) -> tuple[str, str]:
    """Return the kind of badge and its text."""
    if seen.state == "down":
        return "unknown", _("the broker could not be asked")
    if seen.state == "refused":
        return "unknown", _("the broker does not show it")
    if seen.state == "missing":
        return "warning", _("not on the broker")
    if seen.state == "drift":
        return "warning", _("differs from the broker's")
    if not seen.consumers:
        return "warning", _("no consumer") if seen.consumers == 0 else _("no worker answers")
    return "active", _("consumed")


def _counts(seen: Seen) -> str:
    """Return the numbers that the badge does not tell."""
    found: list[str] = []
    if seen.state == "missing":
        return ""
    if seen.consumers:
        text = ngettext("%(count)s consumer", "%(count)s consumers", seen.consumers)
        found.append(text % {"count": widgets.number(seen.consumers)})
    elif seen.state == "drift":
        found.append(_("no consumer"))
    if seen.ready:
        text = ngettext("%(count)s message waits", "%(count)s messages wait", seen.ready)
        found.append(text % {"count": widgets.number(seen.ready)})
    elif seen.ready == 0:
        found.append(_("empty"))
    return ", ".join(found)
