from __future__ import annotations

from django.contrib import admin

from project.notes.actions import summarize_again
from project.notes.models import Note


@admin.register(Note)
class NoteAdmin(admin.ModelAdmin):
    list_display = ["title", "kind", "summary", "failure", "created_at"]
    list_filter = ["kind", "summarized_at"]
    search_fields = ["title", "body", "summary"]
    actions = [summarize_again]
    readonly_fields = ["summary", "failure", "summarized_at", "created_at"]
