"""Admins of these packages that show what was sent for an object."""

from __future__ import annotations

from django.contrib import admin
from polymorphic.admin import PolymorphicChildModelAdmin, PolymorphicParentModelAdmin
from safedelete.admin import SafeDeleteAdmin
from simple_history.admin import SimpleHistoryAdmin

from dispatch.admin import DispatchedAdmin
from tests.support.beside.archive.models import Film, Folder, Page, Song, Work


@admin.register(Work)
class WorkAdmin(PolymorphicParentModelAdmin):
    child_models = (Film, Song)


@admin.register(Film, Song)
class ChildAdmin(DispatchedAdmin, PolymorphicChildModelAdmin):
    base_model = Work


@admin.register(Page)
class PageAdmin(DispatchedAdmin, SimpleHistoryAdmin):
    pass


@admin.register(Folder)
class FolderAdmin(DispatchedAdmin, SafeDeleteAdmin):
    list_display = ("name", *SafeDeleteAdmin.list_display)
