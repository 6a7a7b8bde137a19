"""``{% load dispatch %}``: the messages of an object, on any page of an admin."""

from __future__ import annotations

from typing import Any

from django import template
from django.contrib import admin
from django.db.models import Model

from dispatch.admin import object_messages

register = template.Library()


@register.inclusion_tag("dispatch/messages.html", takes_context=True)
def dispatch_messages(context: template.Context, instance: Model | None, limit: int = 10) -> dict[str, Any]:
    """Show the latest messages that were sent for an object, to those who may view outbox messages.

    The page needs ``request`` in its context, as every admin page has it, and the style sheet ``dispatch/admin.css``.
    """
    request, site = context.get("request"), admin.site
    if not isinstance(instance, Model) or instance.pk is None or not object_messages.may_see(request, site):
        return {"is_shown": False}
    rows = object_messages.messages_of(instance)
    return {
        "is_shown": True,
        "lines": object_messages.lines(rows, limit, site),
        "url": object_messages.log_url(site, object_model=instance._meta.label_lower, object_pk=instance.pk),
    }
