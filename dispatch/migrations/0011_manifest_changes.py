# Old processes go on inserting while this is applied: so the database has the default too.

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("dispatch", "0010_why_a_trigger_is_disabled"),
    ]

    operations = [
        migrations.AddField(
            model_name="manifest",
            name="changes",
            field=models.JSONField(
                blank=True,
                db_default=models.Value({}, models.JSONField()),
                default=dict,
                help_text="What its last import changed, task by task.",
                verbose_name="changes",
            ),
        ),
    ]
