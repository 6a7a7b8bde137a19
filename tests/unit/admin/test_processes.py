"""The list of relays and collectors."""

from __future__ import annotations

from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dispatch.models import MinuteCount
from tests.support.processes import make_process

URL = reverse("admin:dispatch_process_changelist")


def test_each_process_stands_with_its_state_and_what_it_did(viewer, django_assert_max_num_queries):
    alive = make_process()
    make_process("collector", seconds=3_600, host="<b>db-1")
    make_process(stopped_at=timezone.now())
    for queue in ("llm", "web"):
        MinuteCount.objects.create(
            minute=timezone.now(), process=alive.pk, queue=queue, outcome="published", number=600
        )
    with django_assert_max_num_queries(8):
        text = viewer.get(URL).content.decode()
    assert all(f">{state}</span>" in text for state in ("alive", "silent", "stopped"))
    assert "1,200 published" in text
    assert "web-1:7" in text
    assert "<b>db-1" not in text


def test_nothing_can_be_added_changed_or_deleted(boss):
    process = make_process()
    assert boss.get(reverse("admin:dispatch_process_add")).status_code == 403
    assert boss.post(reverse("admin:dispatch_process_delete", args=[process.pk])).status_code == 403
    text = boss.get(reverse("admin:dispatch_process_change", args=[process.pk])).content.decode()
    assert 'name="_save"' not in text
    assert 'name="action"' not in boss.get(URL).content.decode()


def test_staff_without_the_permission_see_none(db):
    client = Client()
    client.force_login(User.objects.create_user("staff", is_staff=True))
    assert client.get(URL).status_code == 403
    assert list(
        Permission.objects.filter(content_type__model="process").values_list("codename", flat=True)
    ) == ["view_process"]
