"""The portal's tables (`portal`), what the admin shows under another name (`admin_proxies`), and our own."""

from bytemark_sync.models.admin_proxies import PendingOrder, PortalUser
from bytemark_sync.models.answers import LimitedMinute, RunOutage
from bytemark_sync.models.audit import AuditFinding
from bytemark_sync.models.cluster import ClusterBeat, NamedLock
from bytemark_sync.models.logins import LoginState, RiderLogin
from bytemark_sync.models.pace import SharedPace
from bytemark_sync.models.portal import Order, OrderItem, OrderToken
from bytemark_sync.models.runs import (
    BatchStatus,
    OrderAttempt,
    OrderOutcome,
    RunKind,
    RunStatus,
    StoredOrder,
    SyncBatch,
    SyncRun,
    Trigger,
)

__all__ = [
    "AuditFinding",
    "BatchStatus",
    "ClusterBeat",
    "LimitedMinute",
    "LoginState",
    "NamedLock",
    "Order",
    "OrderAttempt",
    "OrderItem",
    "OrderOutcome",
    "OrderToken",
    "PendingOrder",
    "PortalUser",
    "RiderLogin",
    "RunKind",
    "RunOutage",
    "RunStatus",
    "SharedPace",
    "StoredOrder",
    "SyncBatch",
    "SyncRun",
    "Trigger",
]
