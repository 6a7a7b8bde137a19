# Old processes go on inserting while this is applied: so the database has the default too.

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("dispatch", "0002_priorities_up_to_the_queues_highest"),
    ]

    operations = [
        migrations.AddField(
            model_name="outboxmessage",
            name="object_schema",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="The tenant's schema that holds the object, where each tenant has one.",
                max_length=63,
                verbose_name="schema",
            ),
        ),
    ]
