"""What the probe has seen. The checks judge it, and the recording keeps its shape."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from bytemark_sync.bytemark.errors import Answer, BytemarkError
from bytemark_sync.bytemark.token import Token
from bytemark_sync.domain.matching import PendingUser
from bytemark_sync.probe.reading import Reading


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer. `rider` is an index of `Evidence.riders`; `None` for the made-up token."""

    rider: int | None
    page: int
    per_page: int
    answer: Answer
    error: BytemarkError | None
    reading: Reading | None

    @property
    def words(self) -> str:
        """The answer in words for a person."""
        if self.error is not None:
            return self.error.detail
        return f"HTTP {self.answer.status} with {len(self.reading.orders) if self.reading else 0} orders"


@dataclass(frozen=True, slots=True)
class LoginTry:
    """What one request for a login came to. `error` is `None` if it gave `token`."""

    error: BytemarkError | None
    token: Token | None = None


@dataclass(slots=True)
class RiderLogin:
    """A real login of the only rider. `not_made`: why none was made.

    `is_stored`: the portal's row has its token. `portal_renewed`: the portal has changed the row meanwhile.
    """

    last: LoginTry | None = None
    not_made: str = ""
    is_stored: bool = False
    portal_renewed: bool = False


@dataclass(slots=True)
class Walk:
    """A rider's list, page by page from 1.

    `complete`: it was read to its end, which is a page without a new order. That page is left out.
    """

    rider: int
    pages: list[Reading] = field(default_factory=list)
    complete: bool = False

    @property
    def identities(self) -> list[str]:
        """The different orders, in the order of the list."""
        return list(dict.fromkeys(identity for page in self.pages for identity in page.identities))


@dataclass(frozen=True, slots=True)
class Tls:
    """`ends`: when the certificate ends. `problem`: why no connection was made."""

    version: str = ""
    ends: datetime | None = None
    problem: str = ""


@dataclass(slots=True)
class Evidence:
    """`riders`: everybody who was to be asked. `tls` is `None` without TLS. `down`: why the probe stopped asking."""

    riders: tuple[PendingUser, ...]
    exchanges: list[Exchange] = field(default_factory=list)
    tls: Tls | None = None
    accepted: list[int] = field(default_factory=list)
    rejected: list[int] = field(default_factory=list)
    wrong_token: Exchange | None = None
    logins: list[LoginTry] = field(default_factory=list)
    """Every request for a login."""
    wrong_login: LoginTry | None = None
    """Of a user that is made up."""
    rider_login: RiderLogin | None = None
    """`None`: nobody wanted one."""
    page_zero: Exchange | None = None
    sizes: list[Exchange] = field(default_factory=list)
    """Page 1 of one rider by rising `per_page`."""
    beyond: Exchange | None = None
    """Page 2 of the same rider by the largest `per_page`. It is asked for if page 1 was not full."""
    confirmed: Exchange | None = None
    """Page 1 by the `per_page` that seems to be the server's largest."""
    repeats: list[tuple[Reading, Reading]] = field(default_factory=list)
    walks: list[Walk] = field(default_factory=list)
    down: str = ""
    spent: bool = False
    """The requests were used up before everything was asked."""
    waited: float = 0.0
    """Seconds that the server told the probe to wait."""

    @property
    def requests(self) -> int:
        return len(self.exchanges) + len(self.logins)

    @property
    def pages(self) -> list[Reading]:
        """Every good page, of riders' own tokens."""
        return [one.reading for one in self.exchanges if one.reading is not None and one.rider is not None]
