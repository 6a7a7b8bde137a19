"""Composition root: connects receivers and registers checks."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig
from django.conf import settings
from django.utils.translation import gettext_lazy as _

DJANGO_TASKS = "dispatch.contrib.django_tasks.DispatchBackend"


class DispatchConfig(AppConfig):
    """The app. Nothing here touches the database or a broker."""

    name = "dispatch"
    verbose_name = _("Celery dispatch")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect what listens; every receiver has a ``dispatch_uid``, so that a second call changes nothing."""
        from dispatch import checks  # noqa: F401 - registers the checks
        from dispatch.core.printable import keep_log_lines_whole
        from dispatch.delivery import connect as connect_delivery
        from dispatch.registry.cache import connect as connect_registry
        from dispatch.triggers.django_hooks import connect as connect_triggers

        keep_log_lines_whole()
        connect_registry()
        connect_triggers()
        connect_delivery()
        if any(each.get("BACKEND") == DJANGO_TASKS for each in getattr(settings, "TASKS", {}).values()):
            import_module(
                "dispatch.contrib.django_tasks"
            )  # tells Django's signal of results, in the collector too
