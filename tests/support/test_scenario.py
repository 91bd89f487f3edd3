"""The scenario that other tests stand on: fresh databases, the real command, the sandbox."""

from __future__ import annotations

from collections.abc import Callable

from bytemark_sync.sandbox import Sandbox, World
from bytemark_sync.sandbox.sample import TROUBLES
from tests.support.harness import Finished, Portal


def test_the_real_command_stores_what_the_sandbox_lists(
    portal: Portal, run_manage: Callable[..., Finished], sandbox: Callable[..., Sandbox]
) -> None:
    world = World.sample(users=3 * len(TROUBLES), listed=(5, 25), trouble=1.0, seed=3)
    portal.fill(world)
    served = sandbox(world)
    done = run_manage("sync_order_items", "--json", env={"BYTEMARK_CUSTOMER_API_URL": served.url})
    assert done.status == 1, done.stderr  # some users fail on purpose
    assert portal.items() == world.expected_items()
    assert portal.reasons() == world.expected_reasons()
    assert done.json["users_failed"] == len(world.expected_failed_users())
    assert done.json["api_requests"] == served.stats().requests
