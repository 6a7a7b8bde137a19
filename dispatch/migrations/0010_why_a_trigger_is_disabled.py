# Old processes go on inserting while this is applied: so the database has the default too.

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("dispatch", "0009_resends"),
    ]

    operations = [
        migrations.AddField(
            model_name="trigger",
            name="disabled_reason",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="For whoever finds it so. It is forgotten when the trigger is enabled again.",
                max_length=200,
                verbose_name="why it is disabled",
            ),
        ),
    ]
