from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("dispatch", "0006_failed_attempts"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="manifest",
            options={
                "ordering": ("-imported_at", "-pk"),
                "permissions": (("sync_manifest", "Can sync tasks with a manifest"),),
                "verbose_name": "manifest",
                "verbose_name_plural": "manifests",
            },
        ),
        migrations.AlterModelOptions(
            name="outboxmessage",
            options={
                "ordering": ("-id",),
                "permissions": (
                    ("requeue_outboxmessage", "Can requeue outbox messages"),
                    ("cancel_outboxmessage", "Can cancel outbox messages"),
                    ("revoke_outboxmessage", "Can revoke tasks that workers hold"),
                    ("view_arguments_outboxmessage", "Can view sensitive arguments"),
                ),
                "verbose_name": "outbox message",
                "verbose_name_plural": "outbox messages",
            },
        ),
        migrations.AlterModelOptions(
            name="queue",
            options={
                "ordering": ("name",),
                "permissions": (
                    ("declare_queue", "Can declare queues and tell workers of them"),
                    ("pause_queue", "Can pause and resume queues"),
                    ("purge_queue", "Can purge queues"),
                ),
                "verbose_name": "queue",
                "verbose_name_plural": "queues",
            },
        ),
        migrations.AlterModelOptions(
            name="taskdefinition",
            options={
                "ordering": ("name",),
                "permissions": (
                    ("send_taskdefinition", "Can send tasks"),
                    ("pause_taskdefinition", "Can pause and resume tasks"),
                ),
                "verbose_name": "task definition",
                "verbose_name_plural": "task definitions",
            },
        ),
    ]
