"""`/livez` and `/readyz`, for containers and load balancers (docs/contract.md#http).

A middleware before all others, and not two views: it answers before anything looks at the host's name, leads to https
or opens a session.
"""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, connections
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed

LIMIT_SECONDS = 2
"""For each of connecting, sending and receiving. A platform asks every few seconds, and gives up on its own too."""

_LIMITS = {
    "mysql": dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), LIMIT_SECONDS),
    "sqlite": {"timeout": LIMIT_SECONDS},
}


class Probes:
    """Answers the two probes; every other request goes on."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        name = request.path_info.removesuffix("/")
        if name not in ("/livez", "/readyz"):
            return self._get_response(request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        is_well = name == "/livez" or database_answers()
        words = "ok" if is_well else "the database does not answer"
        headers = {"Cache-Control": "no-store"}
        return HttpResponse(f"{words}\n", status=200 if is_well else 503, content_type="text/plain", headers=headers)


def database_answers() -> bool:
    """Whether a new connection to the database gets an answer, and the portal's database is there. Never raises.

    The connection is the probe's own: the others have no limits, so that a long statement may take its time.
    """
    connection = connections["default"].copy()
    connection.settings_dict["OPTIONS"] |= _LIMITS[connection.vendor]
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            if settings.PORTAL_DATABASE:  # shown only to a user who has rights there; no lock on a table can hold it up
                cursor.execute(
                    "SELECT 1 FROM information_schema.schemata WHERE schema_name = %s", [settings.PORTAL_DATABASE]
                )
            return cursor.fetchone() is not None
    except (DatabaseError, InterfaceError, ImproperlyConfigured):  # the last: tables of another program
        return False
    finally:
        connection.close()
