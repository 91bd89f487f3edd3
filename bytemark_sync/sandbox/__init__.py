"""A local Bytemark over real HTTP, its lists of orders and its logins, with faults on demand.

The demo, the tests and the benchmark use it.

`World` says who the riders are, what Bytemark lists for them and what the portal holds. `Sandbox` serves it from a
thread, `manage.py bytemark_sandbox` from a process of its own. The JSON follows docs/bytemark-api.md.
"""

from bytemark_sync.sandbox.accounts import Lifetime, parse_lifetimes
from bytemark_sync.sandbox.control import SandboxControl
from bytemark_sync.sandbox.faults import FaultRule, parse_faults
from bytemark_sync.sandbox.limits import Limit, parse_limit
from bytemark_sync.sandbox.records import ExpectedItem, ListedItem, ListedOrder, PortalOrder, PortalToken, Rider
from bytemark_sync.sandbox.server import Sandbox
from bytemark_sync.sandbox.world import World

__all__ = [
    "ExpectedItem",
    "FaultRule",
    "Lifetime",
    "Limit",
    "ListedItem",
    "ListedOrder",
    "PortalOrder",
    "PortalToken",
    "Rider",
    "Sandbox",
    "SandboxControl",
    "World",
    "parse_faults",
    "parse_lifetimes",
    "parse_limit",
]
