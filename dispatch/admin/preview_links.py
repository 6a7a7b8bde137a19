"""Where a trigger is previewed, with an object or without."""

from __future__ import annotations

import json

from django.contrib import admin
from django.db.models import Model

from dispatch.admin import links
from dispatch.admin.links import Link, Viewer
from dispatch.core import trigger_rules
from dispatch.models import Trigger
from dispatch.triggers.code_triggers import CodeTrigger, declared
from dispatch.triggers.trigger_index import labels

MOST = 20


def address(site: admin.AdminSite, trigger: Trigger | CodeTrigger, pk: str = "") -> str:
    """Return the address of a trigger's preview, with the object of this key."""
    of_object = {"pk": pk} if pk else {}
    if isinstance(trigger, Trigger):
        return links.page("dispatch_trigger_preview", site, trigger.pk, **of_object)
    return links.page("dispatch_trigger_code_preview", site, **key(trigger), **of_object)


def key(trigger: CodeTrigger) -> dict[str, str]:
    """Return what makes a trigger in code the one it is, as an address writes it."""
    events = ",".join(event for event in trigger_rules.EVENTS if event in trigger.events)
    return {"name": trigger.name, "model": trigger.model, "task": trigger.task, "events": events}


def of_object(viewer: Viewer, instance: Model) -> list[Link]:
    """Return the previews of the triggers that this object's model has, switched on or not, for those who may see."""
    model = type(instance)
    if not viewer.may_open(Trigger) or not viewer.may_view(model):
        return []
    pk = json.dumps(instance.pk) if isinstance(instance.pk, tuple) else str(instance.pk)
    known = labels(model)
    found = [*Trigger.objects.filter(model__in=known).order_by("name")[:MOST]]
    found += [each for each in declared.values() if each.model in known]
    return [Link(each.name, address(viewer.site, each, pk)) for each in found[:MOST]]
