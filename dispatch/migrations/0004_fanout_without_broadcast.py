from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("dispatch", "0003_schema_of_the_object"),
    ]

    operations = [
        migrations.AddField(
            model_name="exchange",
            name="broadcast",
            field=models.BooleanField(
                default=True,
                help_text="Of a fanout: each worker hears it by a queue of its own, beside those bound here.",
                verbose_name="broadcast",
            ),
        ),
    ]
