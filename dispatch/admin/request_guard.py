"""What stands before each page of the admin: settings that can be read, and an address that can be understood.

Django's own lists and forms fail on some addresses that nobody's browser writes (decision 38).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import BadRequest, FieldDoesNotExist, ValidationError
from django.db import DatabaseError, DataError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern
from django.utils.translation import gettext as _

from dispatch import conf
from dispatch.exceptions import ConfigurationError

logger = logging.getLogger("dispatch.admin")
#: What Django, a driver or a database raises for a parameter that is no number, no list, no field, or too long.
NOT_UNDERSTOOD = (
    ArithmeticError,
    DatabaseError,
    FieldDoesNotExist,
    LookupError,
    TypeError,
    ValidationError,
    ValueError,
)
#: What no row causes, but a key of more digits than the database has.
TOO_LARGE = (DataError, OverflowError)

View = Callable[..., HttpResponse]


def guarded(page: URLPattern, site: admin.AdminSite) -> URLPattern:
    """Return the address of a page with both questions before it."""
    return URLPattern(page.pattern, _guard(page.callback, site), page.default_args, page.name)


def _guard(view: View, site: admin.AdminSite) -> View:
    @wraps(view)
    def guard(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if site.has_permission(request) and (problem := _problem_of_settings()):
            context = {
                **site.each_context(request),
                "title": _("The settings cannot be used"),
                "problem": problem,
            }
            return render(request, "admin/dispatch/settings_problem.html", context, status=503)
        try:
            response = view(request, *args, **kwargs)
            return _rendered(response) if request.GET else response
        except NOT_UNDERSTOOD as error:
            if not request.GET and not isinstance(error, TOO_LARGE):
                raise
            logger.warning(
                "An address could not be understood: %r", request.get_full_path()[:500], exc_info=True
            )
            return _without_query(request)

    return guard


def _problem_of_settings() -> str:
    try:
        problem = next(conf.problems(), "")
        _ = problem or conf.conf.brokers
    except ConfigurationError as error:
        return str(error)
    return problem


def _rendered(response: Any) -> HttpResponse:
    """Return a response whose template, which may be what cannot use a parameter, is rendered."""
    rendered: HttpResponse = response.render() if hasattr(response, "render") else response
    return rendered


def _without_query(request: HttpRequest) -> HttpResponse:
    if request.method != "GET" or not request.GET:
        raise BadRequest("The request holds values that cannot be understood.")
    text = _("The address held parameters that could not be understood. They were left out.")
    messages.warning(request, text)
    return HttpResponseRedirect(request.path)
