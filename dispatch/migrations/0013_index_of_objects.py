# Messages that no object has caused cost no entry in the index.

from django.db import migrations

import dispatch.models.database


class Migration(migrations.Migration):
    dependencies = [
        ("dispatch", "0012_chains"),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name="outboxmessage",
            name="dispatch_outbox_object",
        ),
        migrations.AddIndex(
            model_name="outboxmessage",
            index=dispatch.models.database.PartialIndex(
                fields=["object_model", "object_pk"],
                name="dispatch_outbox_object",
                where={"object_model__gt": ""},
            ),
        ),
    ]
