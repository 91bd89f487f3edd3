"""The portal's three tables. `migrate --fake-initial` adopts them where they exist and changes nothing in them."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Order",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("order_uuid", models.CharField(db_index=True, max_length=255, null=True)),
                ("user_id", models.BigIntegerField(db_index=True, null=True)),
                ("oauth_token", models.TextField(null=True)),
                ("amount", models.CharField(max_length=64, null=True)),
            ],
            options={
                "db_table": "bytemark_orders",
            },
        ),
        migrations.CreateModel(
            name="OrderToken",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("user_id", models.BigIntegerField(db_index=True, null=True)),
                ("token", models.TextField(null=True)),
                ("status", models.CharField(max_length=64, null=True)),
            ],
            options={
                "db_table": "bytemark_tokens",
            },
        ),
        migrations.CreateModel(
            name="OrderItem",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("order_uuid", models.CharField(max_length=255)),
                ("oauth_token", models.TextField()),
                ("product_uuid", models.CharField(db_index=True, max_length=255)),
                ("pass_uuid", models.CharField(db_index=True, max_length=255)),
                (
                    "order",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="items",
                        to="bytemark_sync.order",
                    ),
                ),
            ],
            options={
                "db_table": "bytemark_order_items",
            },
        ),
    ]
