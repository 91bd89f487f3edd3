"""What the search has found, played again (docs/faults.md)."""

from __future__ import annotations

import pytest

from tests.search.machine import Search
from tests.search.moves import Deliver, Here, Move
from tests.search.play import environment
from tests.search.process import Blow

pytestmark = pytest.mark.django_db(transaction=True)


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
