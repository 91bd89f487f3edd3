"""What is known of the logins that renew tokens, for `/metrics`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from django.db.models import Count, Sum

from bytemark_sync.bytemark.account_errors import LoginCause
from bytemark_sync.models import LoginState, RiderLogin, RunStatus, SyncRun


@dataclass(slots=True)
class Logins:
    """Over all riders. `renewed` never falls: a rider's row is kept, whatever becomes of the runs."""

    renewed: int = 0
    refused: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(LoginCause, 0)))
    """Riders whose last login was refused, by cause."""


def look_at_logins() -> Logins:
    found = Logins()
    rows = RiderLogin.objects.order_by().values_list("state", "cause").annotate(Count("pk"), Sum("renewals"))
    for state, cause, riders, renewed in rows:
        found.renewed += renewed
        if state == LoginState.REFUSED and cause in found.refused:
            found.refused[cause] += riders
    return found


def logins_are_stopped() -> bool:
    """Whether a run that is under way logs nobody in any more, or the last run of all that was due ended so."""
    runs = SyncRun.objects.exclude(logins_stopped="")
    if runs.filter(status=RunStatus.RUNNING).exists():
        return True
    ended = SyncRun.objects.filter(whole=True, started_at__isnull=False, finished_at__isnull=False)
    return bool(ended.order_by("-pk").values_list("logins_stopped", flat=True).first())
