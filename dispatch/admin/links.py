"""Links from one admin page to another, for those who may follow them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.sites import all_sites
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.db.models import Model
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse


@dataclass(frozen=True, slots=True)
class Link:
    """A text, and an address where the user may follow it."""

    text: str
    url: str = ""


def change_url(row: Model, site: admin.AdminSite) -> str:
    """Return the address of a row's page."""
    return url(type(row), row.pk, site)


def url(model: type[Model], pk: Any, site: admin.AdminSite) -> str:
    """Return the address of the page of the row with this primary key, "" where the admin has none."""
    return page(f"{model._meta.app_label}_{model._meta.model_name}_change", site, pk)


def page(name: str, site: admin.AdminSite, /, *args: Any, **query: Any) -> str:
    """Return the address of a page by its name, with what its query asks for; "" where the admin lacks the page."""
    try:
        address = reverse(f"admin:{name}", args=args, current_app=site.name)
    except NoReverseMatch:
        return ""
    asked = urlencode(query, doseq=True)
    return f"{address}?{asked}" if asked else address


def queue_action(site: admin.AdminSite, verb: str, pks: Iterable[Any] = ()) -> str:
    """Return the address of the page that declares or purges these queues, or tells workers of them (``apply``)."""
    return page(f"dispatch_queue_{verb}", site, pk=list(pks))


def with_filters(model_admin: admin.ModelAdmin[Any], request: HttpRequest, address: str) -> str:
    """Return an address from which one comes back to the list as it is now."""
    filters = model_admin.get_preserved_filters(request)
    return str(add_preserved_filters({"opts": model_admin.opts, "preserved_filters": filters}, address))


@dataclass(frozen=True, slots=True)
class Viewer:
    """The user of a request, before the pages of one admin site."""

    site: admin.AdminSite
    request: HttpRequest

    def may_open(self, model: type[Model] | None) -> bool:
        """Tell whether this admin has pages for a model, and this user may see them."""
        return model is not None and self.site.is_registered(model) and self.may_view(model)

    def may_view(self, model: type[Model] | None) -> bool:
        """Tell whether this user may view the objects of a model; where the admin has none, by the bare permission."""
        if model is None:
            return False
        if self.site.is_registered(model):
            return self.site.get_model_admin(model).has_view_permission(self.request)
        return self.request.user.has_perm(f"{model._meta.app_label}.view_{model._meta.model_name}")

    def url(self, row: Model | None) -> str:
        """Return the address of a row's page, "" without a row, and for those who may not see its page."""
        return change_url(row, self.site) if row is not None and self.may_open(type(row)) else ""

    def urls(self, model: type[Model], names: Collection[str], column: str = "name") -> dict[str, str]:
        """Return the addresses of the pages of the rows with these names; none for those who may not see them."""
        if not names or not self.may_open(model):
            return {}
        rows = model._default_manager.filter(**{f"{column}__in": names}).values_list(column, "pk")
        return {name: url(model, pk, self.site) for name, pk in rows}


def viewer_of(request: HttpRequest) -> Viewer:
    """Return the viewer of the site that a page belongs to; of the default one for a page outside of any."""
    view = getattr(request.resolver_match, "func", None)  # Django's views tell; a name may be another's
    site = getattr(getattr(view, "model_admin", view), "admin_site", None)
    name = getattr(request, "current_app", None)
    return Viewer(site or next((each for each in all_sites if each.name == name), admin.site), request)


def find(label: str) -> type[Model] | None:
    """Return the model of a label such as ``notes.note``, None where it is no longer installed."""
    try:
        return apps.get_model(label)
    except (LookupError, ValueError):
        return None
