from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("dispatch", "0008_minute_milliseconds"),
    ]

    operations = [
        migrations.CreateModel(
            name="Resend",
            fields=[
                (
                    "copy",
                    models.UUIDField(editable=False, primary_key=True, serialize=False, verbose_name="copy"),
                ),
                ("original", models.UUIDField(db_index=True, editable=False, verbose_name="original")),
            ],
            options={
                "verbose_name": "message sent again",
                "verbose_name_plural": "messages sent again",
                "default_permissions": (),
            },
        ),
    ]
