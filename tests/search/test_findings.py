"""What the search has found, played again (docs/faults.md)."""

from __future__ import annotations

import pytest

from bytemark_sync.models import SyncRun
from tests.search.machine import Search
from tests.search.moves import Api, Deliver, GoOn, Here, Move
from tests.search.play import environment
from tests.search.process import Blow

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "move", [Here(False, (), (Blow.KILL, 2)), Deliver(0, False, (Blow.KILL, 4))], ids=["run", "batch"]
)
def test_requests_are_counted_with_their_answers_where_a_user_is_written_in_parts(move: Move) -> None:
    with environment():
        state = Search()
        state.begin(
            kinds=["long list"], a_batch=1, handed_out=8, a_transaction=2, curse={}, planned=True, lists="as asked"
        )
        state.move(move=move)
        state.teardown()


@pytest.mark.slow
def test_an_outage_ends_a_run_whose_caller_fetches_by_itself() -> None:
    """Where the system starts no thread the engine itself asks the witness, and must come to look at the time."""
    with environment():
        state = Search()
        values = {"a_batch": 3, "handed_out": 8, "a_transaction": 2, "planned": True, "lists": "as asked"}
        state.begin(kinds=["listed", "long list", "long list"], curse={}, **values)
        state.move(move=Api(False, 1, ""))
        state.move(move=Here(False, (), 11))
        state.move(move=Api(True, 1000, ""))
        state.move(move=GoOn(0, 0, None))
        assert list(SyncRun.objects.exclude(error="").values_list("status", flat=True)) == ["partial"]
        state.teardown()
