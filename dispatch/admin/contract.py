"""The page of what ``dispatch verify`` finds: where registry and workers disagree, with what to do about each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.core.exceptions import PermissionDenied
from django.db import models, router, transaction
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from dispatch.admin import widgets
from dispatch.admin.links import Link, Viewer
from dispatch.admin.overview import CONCERNS
from dispatch.models import Manifest, OutboxMessage, Queue, Route, TaskDefinition, Trigger

MOST_SHOWN = 200
#: What the subject of a finding is called in its model, and the ids of the findings that are about one; these are for
#: those who may view the model. Without a column: they name some beside their subject.
SUBJECTS: tuple[tuple[type[models.Model], str, frozenset[str]], ...] = (
    (Trigger, "name", frozenset({"C001", "C007", "C008"})),
    (Route, "pattern", frozenset({"C002", "C021", "C022", "C024"})),
    (Queue, "name", frozenset({"C031", "C032", "C034", "C035", "C036", "C037"})),
    (Queue, "", frozenset({"C033", "C052"})),
    (
        TaskDefinition,
        "name",
        frozenset({"C004", "C006", "C011", "C012", "C013", "C014", "C015", "C023"}),
    ),
)
if apps.is_installed("django_celery_beat"):
    PeriodicTask: type[models.Model] = apps.get_model("django_celery_beat", "PeriodicTask")  # type: ignore[misc]
    SUBJECTS = (*SUBJECTS, (PeriodicTask, "name", frozenset({"C016", "C017", "C018"})))


def view(model_admin: Any) -> Any:
    """Return the view of the page; asked by POST, brokers and workers are asked, for a few times ``BROKER_TIMEOUT``."""

    @transaction.non_atomic_requests
    def contract(request: HttpRequest) -> HttpResponse:
        viewer = model_admin.viewer(request)
        if not any(map(viewer.may_open, (Manifest, TaskDefinition))):
            raise PermissionDenied
        from dispatch.contract import verify
        from dispatch.triggers.code_triggers import task_uses

        is_live = request.method == "POST"
        report = verify(router.db_for_read(OutboxMessage), code=task_uses(), live=is_live, messages=False)
        secret = _secret(viewer)
        findings = [found for found in report.findings if found.id not in secret]
        page: HttpResponse = model_admin.own_page(
            request,
            "admin/dispatch/manifest/contract.html",
            title=_("Contract with the workers"),
            report=report,
            findings=_shown(findings[:MOST_SHOWN], viewer),
            more=max(0, len(findings) - MOST_SHOWN),
            hidden=len(report.findings) - len(findings),
            is_live=is_live,
        )
        return page

    return model_admin.admin_site.admin_view(contract)


def _secret(viewer: Viewer) -> set[str]:
    """Return the ids of the findings that name what this user may not view."""
    from dispatch.contract.verification.process_checks import KINDS

    concerns = [
        *((kinds, (model,)) for model, _column, kinds in SUBJECTS),
        *(({KINDS[kind].id}, models) for kind, models in CONCERNS.items()),
    ]
    return {each for kinds, models in concerns if not any(map(viewer.may_view, models)) for each in kinds}


def _shown(findings: Iterable[Any], viewer: Viewer) -> list[dict[str, Any]]:
    """Return the findings as the page shows them: ``kind`` is that of the badge."""
    findings = list(findings)
    urls = {
        (kind, name): address
        for model, column, kinds in SUBJECTS
        if column
        for name, address in viewer.urls(
            model, {found.subject for found in findings if found.id in kinds}, column
        ).items()
        for kind in kinds
    }
    return [
        {
            "kind": "failure" if found.severity == "error" else "warning",
            "id": found.id,
            "subject": Link(found.subject, urls.get((found.id, found.subject), "")),
            "sentence": widgets.with_commands(found.sentence),
            "remedy": widgets.with_commands(found.remedy),
        }
        for found in findings
    ]
