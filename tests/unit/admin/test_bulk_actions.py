from __future__ import annotations

import uuid

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from django.utils import timezone

from dispatch.admin import bulk_actions, message_window
from dispatch.api import Call, send_many
from dispatch.models import OutboxMessage
from dispatch.outbox import revocation

LIST = "admin:dispatch_outboxmessage_changelist"
pytestmark = pytest.mark.usefixtures("registry")


def sent(number, **columns):
    ids = [message.pk for message in send_many([Call("by.hand")] * number)]
    OutboxMessage.objects.filter(pk__in=ids).update(**columns)
    return ids


def ask(client, verb, ids=(), query=""):
    """Choose messages, or all of the list, and an action."""
    chosen = {"_selected_action": list(map(str, ids)), "select_across": "0"}
    if not ids:
        chosen = {"_selected_action": [str(OutboxMessage.objects.first().pk)], "select_across": "1"}
    return client.post(f"{reverse(LIST)}{query}", {"action": verb, **chosen})


def say_yes(client, page, **extra):
    return client.post(page.context["action_url"], {"ids": page.context["ids"], **extra}, follow=True)


def statuses():
    return sorted(OutboxMessage.objects.values_list("status", flat=True))


def test_nothing_is_cancelled_before_it_was_said_how_many_and_what_that_means(boss):
    waiting, dead = sent(3), sent(1, status="dead")
    gone = sent(2, status="published", published_at=timezone.now())
    page = ask(boss, "cancel", [*waiting, *dead, *gone])
    text = page.content.decode()
    assert "Cancel 4 messages?" in text
    assert "3 pending" in text
    assert "They are not sent, unless you requeue them." in text
    assert "Not cancelled: 2 published" in text
    assert statuses().count("cancelled") == 0
    text = say_yes(boss, page).content.decode()
    assert "4 messages are cancelled" in text
    assert statuses().count("cancelled") == 4
    [entry] = LogEntry.objects.all()
    assert (entry.object_repr, entry.change_message) == ("4 messages", "Cancelled.")


def test_where_nothing_can_be_done_no_button_is_offered(boss):
    page = ask(boss, "requeue", sent(1))
    text = page.content.decode()
    assert "Nothing to do" in text
    assert "Not requeued: 1 pending" in text
    assert 'name="ids"' not in text


def test_one_comes_back_to_the_list_as_it_was(boss):
    sent(2)
    page = ask(boss, "cancel", query="?status__exact=pending")
    assert page.context["list_url"] == f"{reverse(LIST)}?status__exact=pending"
    assert say_yes(boss, page).redirect_chain == [(f"{reverse(LIST)}?status__exact=pending", 302)]


def test_all_of_a_list_are_no_more_than_a_page_can_carry(boss, monkeypatch):
    monkeypatch.setattr(message_window, "SIZE", 2)
    sent(3, status="cancelled")
    sent(3)
    page = ask(boss, "requeue", query="?status__exact=cancelled")
    assert "Requeue 2 messages?" in page.content.decode()
    say_yes(boss, page)
    assert statuses() == ["cancelled"] + ["pending"] * 5


def test_long_work_stops_between_two_steps_says_how_far_it_came_and_goes_on(boss, monkeypatch):
    monkeypatch.setattr(bulk_actions, "STEP", 2)
    monkeypatch.setattr(bulk_actions, "PATIENCE", -1)
    page = ask(boss, "cancel", sent(5))
    for done in (2, 4):
        page = say_yes(boss, page, total="5")
        assert f"{done} of 5 messages done" in page.content.decode()
        assert "2 messages are cancelled" in page.content.decode()
        assert "Go on" in page.content.decode()
    assert "1 message is cancelled" in say_yes(boss, page, total="5").content.decode()
    assert statuses() == ["cancelled"] * 5


def test_revoking_tells_what_happened_to_each(boss, monkeypatch):
    def tell(alias, ids, signal, result):
        result.revoked += len(ids)
        result.workers.add("celery@one")
        result.problems.add("No worker took some.")

    monkeypatch.setattr(revocation, "_tell", tell)
    ids = sent(1) + sent(2, status="published", published_at=timezone.now()) + sent(1, status="dead")
    ids += sent(1, status="claimed", lease_token=uuid.uuid4(), lease_expires_at=timezone.now())
    ids += sent(1, status="published", published_at=timezone.now(), handled_at=timezone.now())
    page = ask(boss, "revoke", ids)
    assert "Revoke 5 messages?" in page.content.decode()
    text = say_yes(boss, page).content.decode()
    for part in (
        "1 message was cancelled before it was published.",
        "2 messages are revoked: celery@one will not run them.",
        "1 message had a result already.",
        "1 message is in the hands of a relay at this moment",
        "Not revoked: 1 dead.",
        "No worker took some.",
    ):
        assert part in text
    entries = LogEntry.objects.order_by("pk").values_list("object_repr", "change_message")
    assert [*entries] == [("1 message", "Cancelled."), ("2 messages", "Revoked.")]


@pytest.mark.parametrize(
    ("verb", "status", "told"),
    [
        ("requeue", "dead", "Requeued."),
        ("cancel", "pending", "Cancelled."),
        ("revoke", "pending", "Cancelled."),
        ("revoke", "published", "Revoked."),
    ],
)
def test_what_is_done_to_one_message_alone_stands_in_its_own_history(boss, monkeypatch, verb, status, told):
    def tell(alias, ids, signal, result):
        result.revoked += len(ids)

    monkeypatch.setattr(revocation, "_tell", tell)
    [pk] = sent(1, status=status, published_at=timezone.now())
    say_yes(boss, ask(boss, verb, [pk]))
    [entry] = LogEntry.objects.all()
    assert (entry.object_id, entry.change_message) == (str(pk), told)


@pytest.mark.parametrize("verb", ["requeue", "cancel", "revoke"])
def test_each_action_needs_its_own_permission(viewer, verb):
    others = {"requeue", "cancel", "revoke"} - {verb}
    user = User.objects.get(username="viewer")
    user.user_permissions.add(
        *Permission.objects.filter(codename__in=[f"{other}_outboxmessage" for other in others])
    )
    [pk] = sent(1)
    text = viewer.get(reverse(LIST)).content.decode()
    assert f'<option value="{verb}">' not in text
    assert all(f'<option value="{other}">' in text for other in others)
    address = reverse(f"admin:dispatch_outboxmessage_bulk_{verb}")
    assert viewer.post(address, {"ids": pk.hex}).status_code == 403
    assert statuses() == ["pending"]


@pytest.mark.one_database
def test_who_may_not_view_messages_does_nothing_to_them(viewer):
    user = User.objects.get(username="viewer")
    user.user_permissions.set(Permission.objects.filter(codename="cancel_outboxmessage"))
    [pk] = sent(1)
    address = reverse("admin:dispatch_outboxmessage_bulk_cancel")
    assert viewer.post(address, {"ids": pk.hex}).status_code == 403
    assert statuses() == ["pending"]


def test_the_page_that_does_it_takes_no_more_than_a_list_and_nothing_odd(boss, monkeypatch):
    address = reverse("admin:dispatch_outboxmessage_bulk_cancel")
    assert boss.get(address).status_code == 405
    assert boss.post(address).status_code == 302
    assert boss.post(address, {"ids": "\0"}).status_code == 400
    assert boss.post(address, {"ids": uuid.uuid4().hex, "total": "9" * 5000}).status_code == 302
    monkeypatch.setattr(message_window, "SIZE", 1)
    assert boss.post(address, {"ids": " ".join(uuid.uuid4().hex for _ in range(2))}).status_code == 400
    boss.handler.enforce_csrf_checks = True
    assert boss.post(address, {"ids": uuid.uuid4().hex}).status_code == 403


def test_a_revocation_of_nothing_leaves_no_line_in_the_history(boss):
    now = timezone.now()
    page = ask(boss, "revoke", sent(1, status="published", published_at=now, handled_at=now))
    assert "1 message had a result already." in say_yes(boss, page).content.decode()
    assert not LogEntry.objects.exists()
