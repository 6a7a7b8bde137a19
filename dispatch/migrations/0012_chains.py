# A column that old processes, which go on while this is applied, do not know: it is null in their rows.

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("dispatch", "0011_manifest_changes"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="outboxmessage",
            name="dispatch_outbox_status",
        ),
        migrations.AddField(
            model_name="outboxmessage",
            name="root_id",
            field=models.UUIDField(
                blank=True,
                editable=False,
                help_text="The message within which a later step of a chain is sent.",
                null=True,
                verbose_name="first of its chain",
            ),
        ),
        migrations.AlterField(
            model_name="outboxmessage",
            name="status",
            field=models.CharField(
                choices=[
                    ("pending", "pending"),
                    ("chained", "waits in its chain"),
                    ("claimed", "claimed"),
                    ("published", "published"),
                    ("superseded", "superseded"),
                    ("dead", "dead"),
                    ("cancelled", "cancelled"),
                ],
                default="pending",
                max_length=16,
                verbose_name="status",
            ),
        ),
        migrations.AddConstraint(
            model_name="outboxmessage",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "status__in",
                        ["pending", "chained", "claimed", "published", "superseded", "dead", "cancelled"],
                    )
                ),
                name="dispatch_outbox_status",
            ),
        ),
        migrations.AddConstraint(
            model_name="outboxmessage",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status", "chained"), _negated=True),
                    ("root_id__isnull", False),
                    _connector="OR",
                ),
                name="dispatch_outbox_chained_to_one",
            ),
        ),
    ]
