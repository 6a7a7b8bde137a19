import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("dispatch", "0005_heartbeats"),
    ]

    operations = [
        migrations.CreateModel(
            name="Attempt",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("number", models.PositiveIntegerField(null=True, verbose_name="number")),
                ("at", models.DateTimeField(verbose_name="at")),
                ("broker", models.CharField(blank=True, max_length=64, verbose_name="broker")),
                ("queue", models.CharField(blank=True, max_length=200, verbose_name="queue")),
                ("error", models.TextField(verbose_name="error")),
                (
                    "message",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="failed_attempts",
                        to="dispatch.outboxmessage",
                    ),
                ),
            ],
            options={
                "verbose_name": "failed attempt",
                "verbose_name_plural": "failed attempts",
                "ordering": ("at", "number"),
            },
        ),
    ]
