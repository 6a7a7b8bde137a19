from __future__ import annotations

import io

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import CommandError, call_command

from dispatch import permission_groups
from dispatch.permission_groups import OPERATORS, VIEWERS

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]


def run():
    output = io.StringIO()
    call_command("dispatch", "groups", stdout=output)
    return output.getvalue()


def codenames(group):
    return set(Group.objects.get(name=group).permissions.values_list("codename", flat=True))


def test_viewers_may_look_and_operators_may_do_all_that_is_no_configuration():
    permission_groups.make()
    own = Permission.objects.filter(content_type__app_label="dispatch")
    views = set(own.filter(codename__startswith="view_").values_list("codename", flat=True))
    written = {
        codename
        for codename in own.values_list("codename", flat=True)
        if codename.startswith(("add_", "change_", "delete_"))
    }
    masked = {"view_arguments_outboxmessage"}
    assert codenames(VIEWERS) == views - masked
    assert codenames(OPERATORS) == set(own.values_list("codename", flat=True)) - masked - written
    assert {"send_taskdefinition", "purge_queue", "sync_manifest"} <= codenames(OPERATORS)


def test_what_was_added_stays_and_what_is_missing_is_given_again():
    assert f"{VIEWERS}: made with " in run()
    group = Group.objects.get(name=VIEWERS)
    group.permissions.add(Permission.objects.get(codename="change_route"))
    group.permissions.remove(Permission.objects.get(codename="view_route"))
    assert f"{VIEWERS}: given 1 permission: view_route." in run()
    assert {"change_route", "view_route"} <= codenames(VIEWERS)
    assert run() == f"{VIEWERS}: has all its permissions.\n{OPERATORS}: has all its permissions.\n"


def test_permissions_that_are_not_there_yet_are_told():
    Permission.objects.filter(codename="purge_queue").delete()
    with pytest.raises(CommandError, match="'purge_queue' is not in the database"):
        run()
