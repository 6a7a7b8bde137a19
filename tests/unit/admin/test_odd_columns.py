"""JSON that nobody can store by the API or a form, in each column that holds some: its pages are shown nevertheless."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.db.models import JSONField
from django.urls import reverse

from dispatch.models import TriggerArgument
from tests.support.registry import write_past_the_form

pytestmark = pytest.mark.one_database

#: More levels than Python shows, fewer than its reader gives up on.
DEEP = "[" * 900 + "]" * 900
CHANGES = '{"added": [%s], "changed": [{"task": %s, "changes": [{"sentence": %s}]}]}' % (DEEP, DEEP, DEEP)  # noqa: UP031
ODD = ("5", '"x"', "[1, {}]", DEEP, f'[{{"name": {DEEP}}}]', CHANGES)
COLUMNS = [
    (model, field.column)
    for model in (*admin.site._registry, TriggerArgument)
    if model._meta.app_label == "dispatch"
    for field in model._meta.concrete_fields
    if isinstance(field, JSONField)
]


@pytest.mark.parametrize(("model", "column"), COLUMNS)
def test_what_is_odd_in_a_column_spoils_no_page(boss, one_of_each, model, column):
    row = model.objects.first()
    page = getattr(row, "trigger", row)
    name = page._meta.model_name
    for odd in ODD:
        write_past_the_form(model, column, odd, **{model._meta.pk.column: getattr(row.pk, "hex", row.pk)})
        for url in (
            reverse("admin:dispatch_overview"),
            reverse(f"admin:dispatch_{name}_changelist"),
            reverse(f"admin:dispatch_{name}_change", args=[page.pk]),
        ):
            assert boss.get(url).status_code == 200, (url, odd[:40])
