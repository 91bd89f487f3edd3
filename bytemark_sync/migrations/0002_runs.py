"""The product's own tables. No constraint points at a portal table."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import bytemark_sync.domain.reasons


class Migration(migrations.Migration):
    dependencies = [("bytemark_sync", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="ClusterBeat",
            fields=[
                (
                    "name",
                    models.CharField(
                        help_text="Host and process of the cluster.", max_length=191, primary_key=True, serialize=False
                    ),
                ),
                ("workers", models.PositiveIntegerField(default=0)),
                ("started_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("heartbeat_at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
            ],
            options={"db_table": "bytemark_sync_cluster"},
        ),
        migrations.CreateModel(
            name="NamedLock",
            fields=[
                ("name", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={"db_table": "bytemark_sync_latch"},
        ),
        migrations.CreateModel(
            name="SharedPace",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("version", models.PositiveBigIntegerField(default=0)),
                ("state", models.JSONField(default=dict, help_text="See bytemark.pace.PaceState.")),
                ("written_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={"db_table": "bytemark_sync_pace"},
        ),
        migrations.CreateModel(
            name="SyncRun",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(choices=[("sync", "run"), ("audit", "audit")], default="sync", max_length=16),
                ),
                (
                    "trigger",
                    models.CharField(
                        choices=[
                            ("command", "command"),
                            ("schedule", "schedule"),
                            ("admin", "admin"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "requested_by",
                    models.CharField(blank=True, help_text="Who asked for it, where a person did.", max_length=150),
                ),
                (
                    "scope",
                    models.JSONField(
                        default=dict, help_text="users, orders, limit, include_deferred; empty: all that are due."
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("running", "Running"),
                            ("succeeded", "Succeeded"),
                            ("partial", "Partial"),
                            ("failed", "Failed"),
                            ("interrupted", "Interrupted"),
                            ("skipped", "Skipped"),
                        ],
                        db_index=True,
                        default="queued",
                        max_length=16,
                    ),
                ),
                ("created_at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                (
                    "whole",
                    models.BooleanField(
                        default=False, help_text="It took all that was due, and so speaks for the whole job."
                    ),
                ),
                (
                    "due_at",
                    models.DateTimeField(
                        help_text="When a scheduled run was due; one run a due time.", null=True, unique=True
                    ),
                ),
                ("started_at", models.DateTimeField(null=True)),
                ("heartbeat_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("finished_at", models.DateTimeField(null=True)),
                (
                    "planned_at",
                    models.DateTimeField(help_text="When the last batch was planned; null: still planning.", null=True),
                ),
                (
                    "planner_at",
                    models.DateTimeField(
                        help_text="When planning was handed to the broker, or gave a sign of life (batches keep"
                        " heartbeat_at young without it); null: the broker has yet to take it.",
                        null=True,
                    ),
                ),
                (
                    "planned_user_id",
                    models.BigIntegerField(help_text="Planned up to this user; where planning goes on.", null=True),
                ),
                (
                    "planning_tries",
                    models.PositiveSmallIntegerField(default=0, help_text="How often planning began again in vain."),
                ),
                ("stop_requested", models.BooleanField(default=False)),
                (
                    "stopped_by",
                    models.CharField(blank=True, help_text="Who asked it to stop, where a person did.", max_length=150),
                ),
                ("host", models.CharField(blank=True, max_length=255)),
                ("pid", models.BigIntegerField(help_text="Of a run that one process works by itself.", null=True)),
                (
                    "pid_space",
                    models.CharField(
                        blank=True, help_text="Boot and PID namespace that pid belongs to.", max_length=100
                    ),
                ),
                ("users_planned", models.PositiveBigIntegerField(default=0)),
                ("users", models.PositiveBigIntegerField(default=0)),
                ("users_failed", models.PositiveBigIntegerField(default=0)),
                ("orders", models.PositiveBigIntegerField(default=0)),
                ("orders_synced", models.PositiveBigIntegerField(default=0)),
                ("orders_not_found", models.PositiveBigIntegerField(default=0)),
                ("orders_without_passes", models.PositiveBigIntegerField(default=0)),
                ("orders_invalid", models.PositiveBigIntegerField(default=0)),
                ("orders_deferred", models.PositiveBigIntegerField(default=0)),
                ("items_created", models.PositiveBigIntegerField(default=0)),
                ("api_requests", models.PositiveBigIntegerField(default=0)),
                ("retries", models.PositiveBigIntegerField(default=0)),
                ("rate_limited", models.PositiveBigIntegerField(default=0, help_text="Answers 429.")),
                (
                    "writes",
                    models.PositiveBigIntegerField(
                        default=0, help_text="Transactions that its own process has written."
                    ),
                ),
                ("answers", models.JSONField(default=dict, help_text="Requests by kind of answer.")),
                (
                    "latency",
                    models.JSONField(default=dict, help_text="Histogram of seconds a request, see bytemark.latency."),
                ),
                (
                    "shape",
                    models.JSONField(
                        default=dict, help_text="Names and types of the answers' members, see bytemark.shape."
                    ),
                ),
                (
                    "drift",
                    models.JSONField(default=dict, help_text="How the shape has changed, and since which run."),
                ),
                (
                    "answered_at",
                    models.DateTimeField(help_text="When Bytemark last answered one of its processes.", null=True),
                ),
                (
                    "silent_since",
                    models.DateTimeField(
                        help_text="Since when Bytemark has answered none of them, in an outage; null: it answers.",
                        null=True,
                    ),
                ),
                (
                    "gave_up_at",
                    models.DateTimeField(
                        help_text="When it gave up, for Bytemark did not answer any more.", null=True
                    ),
                ),
                ("error", models.TextField(blank=True, help_text="Why the run could not go on.")),
                (
                    "slack",
                    models.CharField(blank=True, help_text="What became of the message to Slack.", max_length=255),
                ),
            ],
            options={
                "db_table": "bytemark_sync_run",
                "verbose_name": "run",
                "ordering": ["-id"],
                "permissions": [("resync", "Can resync users"), ("schedule", "Can set when the daily run is due")],
                "indexes": [
                    models.Index(fields=["whole", "status"], name="bytemark_sync_run_whole"),
                    models.Index(fields=["slack"], name="bytemark_sync_run_slack"),
                ],
            },
        ),
        migrations.CreateModel(
            name="OrderAttempt",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                (
                    "reason",
                    models.CharField(
                        choices=bytemark_sync.domain.reasons.reason_choices, max_length=16,
                    ),
                ),
                ("detail", models.CharField(blank=True, max_length=500)),
                (
                    "order",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="attempts",
                        to="bytemark_sync.order",
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="attempts",
                        to="bytemark_sync.syncrun",
                    ),
                ),
            ],
            options={
                "db_table": "bytemark_sync_attempt",
                "verbose_name": "attempt",
                "indexes": [
                    models.Index(fields=["run", "reason"], name="bytemark_sync_attempt_run"),
                    models.Index(fields=["reason"], name="bytemark_sync_attempt_reason"),
                ],
            },
        ),
        migrations.CreateModel(
            name="StoredOrder",
            fields=[
                (
                    "order",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="stored",
                        serialize=False,
                        to="bytemark_sync.order",
                    ),
                ),
                ("user_id", models.BigIntegerField(db_index=True)),
                ("stored_at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                ("items", models.PositiveIntegerField()),
                (
                    "run",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="stored_orders",
                        to="bytemark_sync.syncrun",
                    ),
                ),
            ],
            options={
                "db_table": "bytemark_sync_stored_order",
            },
        ),
        migrations.CreateModel(
            name="SyncBatch",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField()),
                ("user_ids", models.JSONField(default=list)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("running", "Running"),
                            ("done", "Done"),
                            ("given_up", "given up"),
                        ],
                        default="queued",
                        max_length=16,
                    ),
                ),
                ("tries", models.PositiveSmallIntegerField(default=0, help_text="How often it was queued again.")),
                ("worker", models.CharField(blank=True, help_text="Claim of the worker that has it.", max_length=64)),
                (
                    "queued_at",
                    models.DateTimeField(
                        help_text="When it was handed to the broker; null: it waits its turn.", null=True
                    ),
                ),
                ("heartbeat_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("finished_at", models.DateTimeField(null=True)),
                ("error", models.TextField(blank=True, help_text="Why it last broke off.")),
                (
                    "writes",
                    models.PositiveBigIntegerField(default=0, help_text="Transactions that its workers have written."),
                ),
                (
                    "bookmarks",
                    models.JSONField(
                        default=dict, help_text="Users who are under way between two tries: user id -> see bookmarks.py."
                    ),
                ),
                ("answers", models.JSONField(default=dict)),
                ("latency", models.JSONField(default=dict)),
                ("shape", models.JSONField(default=dict)),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="batches", to="bytemark_sync.syncrun"
                    ),
                ),
            ],
            options={
                "db_table": "bytemark_sync_batch",
                "indexes": [
                    models.Index(fields=["status", "heartbeat_at"], name="bytemark_sync_batch_alive"),
                    models.Index(fields=["run", "status"], name="bytemark_sync_batch_run"),
                ],
                "constraints": [models.UniqueConstraint(fields=("run", "number"), name="bytemark_sync_batch_number")],
            },
        ),
        migrations.CreateModel(
            name="OrderOutcome",
            fields=[
                (
                    "order",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="outcome",
                        serialize=False,
                        to="bytemark_sync.order",
                    ),
                ),
                ("user_id", models.BigIntegerField(db_index=True)),
                (
                    "reason",
                    models.CharField(
                        choices=bytemark_sync.domain.reasons.reason_choices, max_length=16,
                    ),
                ),
                ("detail", models.CharField(blank=True, max_length=500)),
                ("attempts", models.PositiveIntegerField(default=1)),
                ("first_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("last_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "next_at",
                    models.DateTimeField(help_text="Deferred until then; null: the next run tries it.", null=True),
                ),
                (
                    "deferred_days",
                    models.PositiveSmallIntegerField(default=0, help_text="The last wait; the next one is twice that."),
                ),
                (
                    "tokens",
                    models.CharField(
                        blank=True,
                        help_text="Keyed fingerprint of the user's current tokens; tells a changed token.",
                        max_length=32,
                    ),
                ),
                (
                    "last_run",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="outcomes",
                        to="bytemark_sync.syncrun",
                    ),
                ),
            ],
            options={
                "db_table": "bytemark_sync_outcome",
                "indexes": [
                    models.Index(fields=["reason", "last_at"], name="bytemark_sync_outcome_reason"),
                    models.Index(fields=["first_at"], name="bytemark_sync_outcome_first"),
                ],
            },
        ),
        migrations.CreateModel(
            name="PendingOrder",
            fields=[],
            options={
                "verbose_name": "pending order",
                "proxy": True,
                "indexes": [],
                "constraints": [],
            },
            bases=("bytemark_sync.order",),
        ),
        migrations.CreateModel(
            name="PortalUser",
            fields=[],
            options={
                "verbose_name": "rider",
                "proxy": True,
                "indexes": [],
                "constraints": [],
            },
            bases=("bytemark_sync.ordertoken",),
        ),
        migrations.CreateModel(
            name="AuditFinding",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("user_id", models.BigIntegerField(db_index=True)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("pass_missing", "pass missing here"),
                            ("pass_unknown", "pass unknown to Bytemark"),
                            ("product_differs", "product differs"),
                            ("order_not_listed", "order not listed"),
                            ("stored_twice", "stored twice"),
                        ],
                        max_length=24,
                    ),
                ),
                ("pass_uuid", models.CharField(blank=True, max_length=255)),
                ("detail", models.CharField(max_length=600)),
                ("repaired", models.BooleanField(default=False, help_text="The missing pass is there by now.")),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "order",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="findings",
                        to="bytemark_sync.order",
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="findings",
                        to="bytemark_sync.syncrun",
                    ),
                ),
            ],
            options={
                "db_table": "bytemark_sync_audit_finding",
                "indexes": [models.Index(fields=["run", "kind"], name="bytemark_sync_finding_kind")],
            },
        ),
        migrations.CreateModel(
            name="RunOutage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("began_at", models.DateTimeField(db_index=True, help_text="When it last answered.")),
                (
                    "ended_at",
                    models.DateTimeField(help_text="When it answered again; null: not before the run ended.", null=True),
                ),
                (
                    "run",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="outages",
                        to="bytemark_sync.syncrun",
                    ),
                ),
            ],
            options={"db_table": "bytemark_sync_outage"},
        ),
        migrations.CreateModel(
            name="RefusedMinute",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "source",
                    models.CharField(
                        blank=True, help_text="Of a process: its writer, by a random name.", max_length=32
                    ),
                ),
                ("minute", models.DateTimeField()),
                ("requests", models.PositiveBigIntegerField(help_text="All requests of the process in this minute.")),
                ("refused", models.PositiveBigIntegerField()),
                (
                    "run",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="refused_minutes",
                        to="bytemark_sync.syncrun",
                    ),
                ),
            ],
            options={
                "db_table": "bytemark_sync_refused_minute",
                "constraints": [
                    models.UniqueConstraint(fields=["minute", "source"], name="bytemark_sync_refused_minute")
                ],
            },
        ),
    ]
