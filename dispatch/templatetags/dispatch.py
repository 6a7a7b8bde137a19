"""``{% load dispatch %}``: on any page of an admin an object's messages, and a task's; the overview, on its own."""

from __future__ import annotations

from typing import Any

from django import template
from django.core.exceptions import ValidationError
from django.db.models import Model

from dispatch.admin import links, object_messages, overview, preview_links, widgets
from dispatch.models import OutboxMessage

register = template.Library()
register.filter("with_commands", widgets.with_commands)


@register.inclusion_tag("dispatch/messages.html", takes_context=True)
def dispatch_messages(context: template.Context, instance: Model | None, limit: int = 10) -> dict[str, Any]:
    """Show the latest messages of an object to those who may view outbox messages.

    And what triggers would send for it, by links, to those who may view triggers.

    The page needs ``request`` in its context, as every admin page has it, and the style sheet ``dispatch/admin.css``.
    """
    request = context.get("request")
    if request is None or not isinstance(instance, Model) or instance.pk is None:
        return {}
    viewer = links.viewer_of(request)
    previews = preview_links.of_object(viewer, instance)
    if not viewer.may_open(OutboxMessage):
        return {"previews": previews}
    rows = object_messages.messages_of(instance)
    return {
        "previews": previews,
        "table": object_messages.table(rows, limit, viewer.site),
        "url": object_messages.log_url(
            viewer.site, object_model=instance._meta.label_lower, object_pk=instance.pk
        ),
    }


@register.inclusion_tag("dispatch/overview.html", takes_context=True)
def dispatch_overview(context: template.Context) -> dict[str, Any]:
    """Show the overview, to those who may see a part of it."""
    viewer = links.viewer_of(context["request"])
    shown = overview.look(viewer) if overview.may_see(viewer) else {}
    drift = None if "failure" in shown else overview.drift(viewer)
    return {
        "may_see": bool(shown),
        "drift": drift,
        "url": links.page("dispatch_overview", viewer.site),
        **shown,
    }


@register.inclusion_tag("dispatch/panel.html", takes_context=True)
def dispatch_panel(context: template.Context) -> dict[str, Any]:
    """Show what is wrong, and the numbers of the whole, to those who may see a part of the overview."""
    request = context.get("request")
    viewer = links.viewer_of(request) if request is not None else None
    if viewer is None or not overview.may_see(viewer):
        return {"may_see": False}
    return {
        "may_see": True,
        "page": links.page("app_list", viewer.site, "dispatch"),
        **overview.look(viewer, brief=True),
    }


@register.simple_tag(takes_context=True)
def message_of_task(context: template.Context, task_id: str) -> str:
    """Return the address of the message with this task id, "" where there is none, or this user may not view it."""
    request = context.get("request")
    viewer = links.viewer_of(request) if request is not None else None
    if viewer is None or not viewer.may_open(OutboxMessage):
        return ""
    try:
        message = OutboxMessage.objects.only("pk").filter(pk=task_id).first()
    except ValidationError:  # another producer's id
        return ""
    return links.change_url(message, viewer.site) if message else ""
