"""Whatever exception comes in a run: it is closed, its class and place are told, and no value is."""

from __future__ import annotations

from tests.support.harness import manage
from tests.support.scenario import Env, MakeScenario, Scenario, simple_world
from tests.support.slack import FakeSlack


def test_an_exception_closes_the_run_as_failed_prints_the_line_and_tells_slack(
    scenario: MakeScenario, fake_slack: FakeSlack
) -> None:
    """A token column of bytes, which no portal is known to have."""
    at = scenario(simple_world(users=2, orders=2))
    if at.portal.is_sqlite:
        there = "UPDATE bytemark_tokens SET token = CAST(token AS BLOB)"
        back = "UPDATE bytemark_tokens SET token = CAST(token AS TEXT)"
    else:
        there, back = (f"ALTER TABLE bytemark_tokens MODIFY token {kind}" for kind in ("BLOB", "TEXT"))
    at.portal.execute(there)
    fails_in_words(at, "sync_order_items", fake_slack)
    fails_in_words(at, "sync_order_items", fake_slack)
    assert at.portal.items() == []
    at.portal.execute(back)
    at.settle()


def test_a_run_that_had_stored_something_has_failed_all_the_same(
    sqlite_scenario: MakeScenario, fake_slack: FakeSlack
) -> None:
    """The last user's token is of bytes; the first thousand orders are stored before it is read."""
    at = sqlite_scenario(simple_world(users=12, orders=100), latency=0.12)
    at.portal.execute("UPDATE bytemark_tokens SET token = CAST(token AS BLOB) WHERE user_id = 112")
    options = {"BYTEMARK_PAGE_SIZE": "1000", "BYTEMARK_WORKERS": "1"}
    fails_in_words(at, "sync_order_items", fake_slack, options)
    (run,) = at.portal.runs()
    assert 0 < run["orders_synced"] < 1200
    assert run["items_created"] == len(at.portal.items())
    at.assert_whole_orders()
    at.portal.execute("UPDATE bytemark_tokens SET token = CAST(token AS TEXT)")
    at.settle()


def test_an_audit_too(server_scenario: MakeScenario, fake_slack: FakeSlack) -> None:
    """User ids of text."""
    at = server_scenario(simple_world(users=2, orders=2))
    assert at.sync().status == 0
    at.portal.execute("ALTER TABLE bytemark_orders MODIFY user_id VARCHAR(20)")
    fails_in_words(at, "audit_order_items", fake_slack)


def fails_in_words(at: Scenario, command: str, slack: FakeSlack, env: Env | None = None) -> None:
    slack.posts.clear()
    told = {"SLACK_BOT_TOKEN": "xoxb-made-up", "SLACK_CHANNEL_ID": "C1", "SLACK_API_URL": slack.url}
    done = manage(command, "--json", database_url=at.url, env={**at.env(env), **told})
    assert done.status == 1
    assert "Traceback" not in done.stderr
    run = at.portal.runs()[-1]
    assert (run["status"], run["slack"]) == ("failed", "sent")
    assert run["finished_at"]
    assert "TypeError" in run["error"]
    assert ".py line " in run["error"]
    assert (done.json["run_id"], done.json["status"], done.json["error"]) == (run["id"], "failed", run["error"])
    (post,) = slack.posts
    assert run["error"] in post["text"]
    assert "key-101" not in done.stdout + done.stderr + run["error"] + post["text"]
