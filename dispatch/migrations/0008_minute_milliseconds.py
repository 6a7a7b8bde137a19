from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("dispatch", "0007_permissions"),
    ]

    operations = [
        migrations.AddField(
            model_name="minutecount",
            name="milliseconds",
            field=models.PositiveBigIntegerField(db_default=0, default=0, verbose_name="milliseconds"),
        ),
    ]
