"""``{% load dispatch %}``: the messages of an object, on any page of an admin."""

from __future__ import annotations

from typing import Any

from django import template
from django.contrib import admin
from django.db.models import Model

from dispatch.admin import objects

register = template.Library()


@register.inclusion_tag("dispatch/messages.html", takes_context=True)
def dispatch_messages(context: template.Context, instance: Model | None, limit: int = 10) -> dict[str, Any]:
    """Show the latest messages that were sent for an object, to those who may view outbox messages.

    The page needs ``request`` in its context, as every admin page has it, and the style sheet ``dispatch/admin.css``.
    """
    request, site = context.get("request"), admin.site
    if not isinstance(instance, Model) or instance.pk is None or not objects.may_see(request, site):
        return {"is_shown": False}
    rows = objects.messages_of(instance)
    return {
        "is_shown": True,
        "lines": objects.lines(rows, limit, site),
        "url": objects.log_url(site, object_model=instance._meta.label_lower, object_pk=instance.pk),
    }
