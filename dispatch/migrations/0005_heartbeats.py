# The index of dead messages is built in one scan of the outbox; on MariaDB that of pending ones serves for it.

from django.db import migrations, models

import dispatch.models.database


class Migration(migrations.Migration):
    dependencies = [
        ("dispatch", "0004_fanout_without_broadcast"),
    ]

    operations = [
        migrations.CreateModel(
            name="MinuteCount",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("minute", models.DateTimeField(verbose_name="minute")),
                ("process", models.UUIDField(verbose_name="process")),
                ("queue", models.CharField(blank=True, max_length=200, verbose_name="queue")),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("published", "published"),
                            ("failed", "failed attempts"),
                            ("dead", "dead"),
                            ("superseded", "superseded"),
                            ("cancelled", "expired"),
                            ("task_succeeded", "tasks succeeded"),
                            ("task_failed", "tasks failed"),
                        ],
                        max_length=16,
                        verbose_name="outcome",
                    ),
                ),
                ("number", models.PositiveIntegerField(verbose_name="number")),
            ],
            options={
                "verbose_name": "count of a minute",
                "verbose_name_plural": "counts of minutes",
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="Process",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(
                        choices=[("relay", "relay"), ("collector", "collector")],
                        max_length=16,
                        verbose_name="kind",
                    ),
                ),
                ("host", models.CharField(max_length=255, verbose_name="host")),
                ("pid", models.BigIntegerField(verbose_name="process id")),
                ("version", models.CharField(max_length=64, verbose_name="version of dispatch")),
                ("started_at", models.DateTimeField(verbose_name="started at")),
                ("seen_at", models.DateTimeField(verbose_name="last seen")),
                ("stopped_at", models.DateTimeField(null=True, verbose_name="stopped at")),
                ("errors", models.JSONField(default=dict, verbose_name="last errors")),
            ],
            options={
                "verbose_name": "process",
                "verbose_name_plural": "processes",
                "ordering": ("-seen_at",),
                "default_permissions": ("view",),
            },
        ),
        migrations.AddIndex(
            model_name="outboxmessage",
            index=dispatch.models.database.PartialIndex(
                fields=["available_at", "id"],
                name="dispatch_outbox_dead",
                only_partial=True,
                where={"status": "dead"},
            ),
        ),
        migrations.AddConstraint(
            model_name="minutecount",
            constraint=models.UniqueConstraint(
                fields=("minute", "process", "queue", "outcome"), name="dispatch_minute_count"
            ),
        ),
    ]
