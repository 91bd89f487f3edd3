"""The admin: a file a screen. It reads, and asks `queue.requests` for everything else."""

# ruff: noqa: F401 - a screen registers itself when it is imported
from bytemark_sync.admin import (
    attempts,
    audit_findings,
    items,
    orders,
    pending_orders,
    queue_pages,
    riders,
    run_list,
    staff,
)
