from __future__ import annotations

from django.contrib import admin

from dispatch.admin import DispatchedAdmin
from project.notes.actions import summarize_again
from project.notes.models import Note, Tag


@admin.register(Note)
class NoteAdmin(DispatchedAdmin):
    list_display = ["title", "kind", "summary", "failure", "created_at"]
    list_filter = ["kind", "summarized_at"]
    search_fields = ["title", "body", "summary"]
    actions = [summarize_again]
    readonly_fields = ["summary", "failure", "summarized_at", "created_at"]
    filter_horizontal = ["tags"]


@admin.register(Tag)
class TagAdmin(DispatchedAdmin):
    list_display = ["name", "colour", "weight"]
    search_fields = ["name"]
