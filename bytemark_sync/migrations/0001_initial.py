"""The portal's three tables.

In one place `migrate --fake-initial` adopts them where they exist and changes nothing in them. With `PORTAL_DATABASE` they
are the portal's alone: the models are not managed, and nothing is made.

It comes before every other migration, so that its row in `django_migrations` tells from the first table on that a database
is the product's own (bytemark_sync/checks/foreign_tables.py).
"""

import django.db.models.deletion
from django.db import migrations, models

from bytemark_sync.models.portal import IN_ONE_PLACE, portal_table


class Migration(migrations.Migration):
    initial = True

    dependencies = []
    run_before = [
        ("contenttypes", "0001_initial"),
        ("sessions", "0001_initial"),
        ("django_q", "0001_initial"),
        ("axes", "0001_initial"),
    ]

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
                "db_table": portal_table("bytemark_orders"),
                "managed": IN_ONE_PLACE,
            },
        ),
        migrations.CreateModel(
            name="OrderToken",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("user_id", models.BigIntegerField(db_index=True, null=True)),
                ("email", models.CharField(max_length=255, null=True)),
                ("password", models.CharField(max_length=255, null=True)),
                ("token", models.TextField(null=True)),
                ("status", models.CharField(max_length=64, null=True)),
            ],
            options={
                "db_table": portal_table("bytemark_tokens"),
                "managed": IN_ONE_PLACE,
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
                "db_table": portal_table("bytemark_order_items"),
                "verbose_name": "item",
                "managed": IN_ONE_PLACE,
            },
        ),
    ]
