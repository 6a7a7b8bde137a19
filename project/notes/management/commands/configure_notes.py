from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from project.notes.registry import configure


class Command(BaseCommand):
    help = "Set up the queues, routes and triggers of the notes, once the worker's manifest has been synced."

    def handle(self, *args: Any, **options: Any) -> None:
        configure()
        self.stdout.write("The queues, routes and triggers of the notes are set up.")
