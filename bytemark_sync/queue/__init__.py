"""Queued runs: planning, batches, heartbeats, the watchdog, the supervisor, schedules and locks."""
