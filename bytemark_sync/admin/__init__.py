"""The admin, one file for each screen. It only reads; for runs and stops it calls `queue.requests`."""

# ruff: noqa: F401 - each screen registers itself when it is imported
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
