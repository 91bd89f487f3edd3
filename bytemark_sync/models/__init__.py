"""The portal's three tables (`portal`) and the product's own (`runs`)."""

from bytemark_sync.models.portal import Order, OrderItem, OrderToken
from bytemark_sync.models.runs import (
    BatchStatus,
    OrderAttempt,
    OrderOutcome,
    RunStatus,
    StoredOrder,
    SyncBatch,
    SyncRun,
    Trigger,
)

__all__ = [
    "BatchStatus",
    "Order",
    "OrderAttempt",
    "OrderItem",
    "OrderOutcome",
    "OrderToken",
    "RunStatus",
    "StoredOrder",
    "SyncBatch",
    "SyncRun",
    "Trigger",
]
