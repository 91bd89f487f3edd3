"""What a run is asked to work, and that it is the same after its way through a run's row."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytemark_sync.domain.pending_filter import NEVER_TRIED, PendingFilter
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.domain.run_scope import AuditScope, Scope

ids = st.lists(st.integers(1, 2**63 - 1), max_size=4).map(tuple)
times = st.none() | st.datetimes(timezones=st.just(UTC))
filters = st.builds(
    PendingFilter,
    reasons=st.lists(st.sampled_from([*Reason, NEVER_TRIED]), max_size=3).map(tuple),
    user=st.none() | st.integers(1, 2**63 - 1),
    first_before=times,
    first_after=times,
    next_after=times,
)
scopes = st.builds(
    Scope,
    users=ids,
    orders=st.lists(st.text(min_size=1), max_size=4).map(tuple),
    filters=filters,
    limit=st.none() | st.integers(1, 10**9),
    include_deferred=st.booleans(),
)
audits = st.builds(
    AuditScope,
    users=ids,
    order_ids=st.none() | ids,
    since=st.none() | st.datetimes(timezones=st.just(UTC)),
    repair=st.booleans(),
)


@given(scopes)
def test_a_scope_comes_back_from_json_as_it_was(scope: Scope) -> None:
    assert Scope.from_json(json.loads(json.dumps(scope.to_json()))) == scope


@given(audits)
def test_an_audits_scope_comes_back_from_json_as_it_was(scope: AuditScope) -> None:
    assert AuditScope.from_json(json.loads(json.dumps(scope.to_json()))) == scope


def test_json_holds_only_what_is_set() -> None:
    assert Scope().to_json() == AuditScope().to_json() == {}
    assert Scope(limit=5, users=(7,)).to_json() == {"users": [7], "limit": 5}
    since = datetime(2026, 3, 1, tzinfo=UTC)
    assert AuditScope(since=since, repair=True).to_json() == {"since": "2026-03-01T00:00:00+00:00", "repair": True}


def test_an_audit_of_no_order_is_not_one_of_all() -> None:
    none = AuditScope(order_ids=())
    assert none.to_json() == {"order_ids": []}
    assert AuditScope.from_json(none.to_json()).order_ids == ()
    assert AuditScope.from_json({}).order_ids is None


@pytest.mark.parametrize(
    ("scope", "tries_deferred", "is_everything"),
    [
        (Scope(), False, True),
        (Scope(include_deferred=True), True, True),
        (Scope(limit=5), False, False),
        (Scope(users=(7,)), True, False),
        (Scope(orders=("a",)), True, False),
        (Scope(filters=PendingFilter(reasons=("not_found",))), True, False),
        (Scope(limit=5, include_deferred=True), True, False),
    ],
    ids=lambda value: str(value.to_json()) if isinstance(value, Scope) else str(value),
)
def test_who_names_something_wants_it_now_and_who_narrows_does_not_speak_for_the_job(
    scope: Scope, tries_deferred: bool, is_everything: bool
) -> None:
    assert (scope.tries_deferred, scope.is_everything) == (tries_deferred, is_everything)
