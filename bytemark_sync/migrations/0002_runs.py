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
                ("state", models.JSONField(default=dict, help_text="PaceState of bytemark/pace_state.py.")),
                ("written_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={"db_table": "bytemark_sync_pace"},
        ),
        migrations.CreateModel(
            name="RiderLogin",
            fields=[
                (
                    "user_id",
                    models.BigIntegerField(primary_key=True, serialize=False),
                ),
                (
                    "run_id",
                    models.BigIntegerField(
                        help_text="The run that last asked; a run asks at most once for a user.", null=True
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("asked", "under way"),
                            ("renewed", "Renewed"),
                            ("refused", "Refused"),
                            ("unanswered", "not answered"),
                        ],
                        max_length=16,
                    ),
                ),
                ("cause", models.CharField(blank=True, max_length=20)),
                ("detail", models.CharField(blank=True, max_length=500)),
                ("asked_at", models.DateTimeField(help_text="When the last login was asked for.", null=True)),
                ("renewed_at", models.DateTimeField(help_text="When a login last gave a token.", null=True)),
                (
                    "renewals",
                    models.PositiveIntegerField(default=0, help_text="How often a login has given a token."),
                ),
                ("refused_at", models.DateTimeField(help_text="When a login was last refused.", null=True)),
                (
                    "next_at",
                    models.DateTimeField(
                        help_text="A refused login is not repeated before, unless the fingerprint changes.", null=True
                    ),
                ),
                (
                    "deferred_days",
                    models.PositiveSmallIntegerField(default=0, help_text="The last wait; the next one is twice that."),
                ),
                (
                    "fingerprint",
                    models.CharField(
                        blank=True, help_text="Keyed hash of what the login was asked with.", max_length=32
                    ),
                ),
            ],
            options={"db_table": "bytemark_sync_login"},
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
                    models.CharField(blank=True, help_text="The person who asked for it, if one did.", max_length=150),
                ),
                (
                    "scope",
                    models.JSONField(
                        default=dict, help_text="What was asked for (domain/run_scope.py). Empty: all that is due."
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
                        default=False, help_text="Asked for all that was due. /healthz looks at these runs."
                    ),
                ),
                (
                    "due_at",
                    models.DateTimeField(
                        help_text="When a scheduled run was due. One run each time.", null=True, unique=True
                    ),
                ),
                ("started_at", models.DateTimeField(null=True)),
                ("heartbeat_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("finished_at", models.DateTimeField(null=True)),
                (
                    "planned_at",
                    models.DateTimeField(help_text="When planning ended. Null: it has not ended yet.", null=True),
                ),
                (
                    "planner_at",
                    models.DateTimeField(
                        help_text="When planning was last queued or gave a sign of life. Null: it has yet to be queued."
" (heartbeat_at does not show it, because batches renew that too.)",
                        null=True,
                    ),
                ),
                (
                    "planned_user_id",
                    models.BigIntegerField(help_text="Planning has passed this user and goes on after it.", null=True),
                ),
                (
                    "planning_tries",
                    models.PositiveSmallIntegerField(default=0, help_text="Restarts of planning since it last got on."),
                ),
                ("stop_requested", models.BooleanField(default=False)),
                (
                    "stopped_by",
                    models.CharField(blank=True, help_text="The person who asked it to stop, if one did.", max_length=150),
                ),
                ("host", models.CharField(blank=True, max_length=255)),
                ("pid", models.BigIntegerField(help_text="The process that works the run. Null for a queued run.", null=True)),
                (
                    "pid_space",
                    models.CharField(
                        blank=True, help_text="Boot and PID namespace in which pid is valid.", max_length=100
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
                    "tokens_renewed",
                    models.PositiveBigIntegerField(default=0, help_text="By logins that gave a token."),
                ),
                (
                    "logins_stopped",
                    models.TextField(blank=True, help_text="Why it logs nobody in any more; empty: it does."),
                ),
                (
                    "writes",
                    models.PositiveBigIntegerField(
                        default=0, help_text="Transactions written by its own process."
                    ),
                ),
                ("answers", models.JSONField(default=dict, help_text="Number of requests by kind of answer.")),
                (
                    "latency",
                    models.JSONField(default=dict, help_text="Seconds that requests took: Histogram of bytemark/stats.py."),
                ),
                (
                    "shape",
                    models.JSONField(
                        default=dict, help_text="Names and types of the answers' members: bytemark/shape.py."
                    ),
                ),
                (
                    "drift",
                    models.JSONField(default=dict, help_text="How the shape differs from that of an earlier run."),
                ),
                (
                    "answered_at",
                    models.DateTimeField(help_text="When Bytemark last answered a process of this run.", null=True),
                ),
                (
                    "silent_since",
                    models.DateTimeField(
                        help_text="In an outage: since when Bytemark has answered no process of this run.",
                        null=True,
                    ),
                ),
                (
                    "gave_up_at",
                    models.DateTimeField(
                        help_text="When it gave up because Bytemark did not answer.", null=True
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
                ("worker", models.CharField(blank=True, help_text="Random mark of the worker that has claimed it.", max_length=64)),
                (
                    "queued_at",
                    models.DateTimeField(
                        help_text="When it was queued. Null: it has yet to be queued.", null=True
                    ),
                ),
                ("heartbeat_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("finished_at", models.DateTimeField(null=True)),
                ("error", models.TextField(blank=True, help_text="Why its last try broke off.")),
                (
                    "writes",
                    models.PositiveBigIntegerField(default=0, help_text="Transactions written by its workers."),
                ),
                (
                    "bookmarks",
                    models.JSONField(
                        default=dict, help_text="User id -> how far the user's list is read (runs/bookmarks.py)."
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
                    models.DateTimeField(help_text="Deferred until then. Null: the next run takes it.", null=True),
                ),
                (
                    "deferred_days",
                    models.PositiveSmallIntegerField(default=0, help_text="Days of the last deferral; the next doubles them."),
                ),
                (
                    "tokens",
                    models.CharField(
                        blank=True,
                        help_text="Keyed fingerprint of the user's tokens. It shows whether they have changed.",
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
                ("repaired", models.BooleanField(default=False, help_text="The missing pass has been stored since.")),
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
            name="LimitedMinute",
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
                        related_name="limited_minutes",
                        to="bytemark_sync.syncrun",
                    ),
                ),
            ],
            options={
                "db_table": "bytemark_sync_limited_minute",
                "constraints": [
                    models.UniqueConstraint(fields=["minute", "source"], name="bytemark_sync_limited_minute")
                ],
            },
        ),
    ]
