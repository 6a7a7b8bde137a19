from __future__ import annotations

from django.apps import AppConfig


class NotesConfig(AppConfig):
    name = "project.notes"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from project.notes import receivers  # noqa: F401  (importing connects them)
