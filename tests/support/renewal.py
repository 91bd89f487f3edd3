"""Runs that renew tokens, in the test's own process: riders with accounts at a sandbox, and what became of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from bytemark_sync.audit.strategy import AuditStrategy
from bytemark_sync.domain.run_scope import AuditScope, Scope
from bytemark_sync.models import OrderItem, OrderOutcome, OrderToken
from bytemark_sync.runs.client_settings import bytemark_settings
from bytemark_sync.runs.in_process import RunReport, work_here
from bytemark_sync.runs.strategy import SyncStrategy
from bytemark_sync.sandbox import ListedOrder, PortalOrder, PortalToken, Rider, Sandbox, World
from tests.support.harness import Portal
from tests.support.scenario import listed
from tests.support.servers import Databases

CLIENT = "made-up-client"
EXPIRED = "expired"


def add_rider(
    world: World,
    user: int,
    orders: Iterable[ListedOrder] = (),
    *,
    token: str = EXPIRED,
    on_orders: str = "",
    works: bool = False,
    account: bool = True,
) -> Rider:
    """A rider with a token row of `token`, which opens the account only if it `works`; every order is pending."""
    own = list(orders) or [listed(f"order-{user}")]
    rider = Rider(user, [token] if works else [], own)
    if account:
        rider.email, rider.password = f"{user}@riders.example", f"password-{user}"
    world.riders.append(rider)
    world.orders += [
        PortalOrder(len(world.orders) + n, one.uuid, user, on_orders) for n, one in enumerate(own, start=1)
    ]
    world.tokens.append(PortalToken(user, token, rider.email or None, rider.password or None))
    return rider


def expired_world(users: int = 3, first: int = 101) -> World:
    world = World()
    for user in range(first, first + users):
        add_rider(world, user)
    return world


def may_renew(server: Databases, portal: Portal) -> None:
    """Give the database user the one right that a renewal needs."""
    table = f"`{portal.portal_database}`.`bytemark_tokens`"
    server.execute(f"GRANT UPDATE (token) ON {table} TO '{portal.name}'@'%'")


class Renewing:
    """A world in the test's database and at a sandbox. `run` is one sync of this process."""

    def __init__(self, world: World, sandbox: Sandbox, settings: Any) -> None:
        self.world, self.sandbox = world, sandbox
        settings.BYTEMARK_CUSTOMER_API_URL = settings.BYTEMARK_ACCOUNT_API_URL = sandbox.url
        settings.BYTEMARK_CLIENT_ID = CLIENT
        settings.BYTEMARK_BACKOFF_BASE, settings.BYTEMARK_BACKOFF_CAP = 0.01, 0.02
        world.fill_portal()

    def run(self, scope: Scope | AuditScope | None = None, *, dry_run: bool = False, workers: int = 4) -> RunReport:
        report = work_here(
            AuditStrategy(scope) if isinstance(scope, AuditScope) else SyncStrategy(scope or Scope()),
            client_settings=bytemark_settings(),
            workers=workers,
            stop=threading.Event(),
            dry_run=dry_run,
        )
        assert report.error == "", report.error
        return report

    def logins(self) -> dict[str, int]:
        """Requests for a login, by user."""
        return self.sandbox.stats().logins.users

    def granted(self) -> dict[str, int]:
        return self.sandbox.stats().logins.granted

    def pages(self, user: int) -> list[int]:
        return [one.page for one in self.sandbox.requests() if one.user_id == user]


MakeRenewing = Callable[..., Renewing]


def row_tokens() -> dict[int | None, str | None]:
    """User to token, of the newest row."""
    return dict(OrderToken.objects.order_by("pk").values_list("user_id", "token"))


def stored_tokens() -> dict[str, str]:
    return dict(OrderItem.objects.values_list("order_uuid", "oauth_token"))


def details() -> dict[int, tuple[str, str]]:
    """User to reason and detail."""
    found = OrderOutcome.objects.values_list("user_id", "reason", "detail")
    return {user: (reason, detail) for user, reason, detail in found}
