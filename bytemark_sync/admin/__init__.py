"""The admin: a file a screen. It reads, and asks `bytemark_sync.tasks` for everything else."""

from bytemark_sync.admin import accounts, attempts, audit, items, orders, pending, queue, runs, users  # noqa: F401 - registers
