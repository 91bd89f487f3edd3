"""The sandbox's account API: who is let in, what a login does to tokens, how it can go wrong, and what is counted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bytemark_sync.domain.reasons import Reason
from bytemark_sync.sandbox import (
    FaultRule,
    Lifetime,
    ListedItem,
    ListedOrder,
    PortalOrder,
    PortalToken,
    Rider,
    Sandbox,
    World,
    parse_faults,
    parse_lifetimes,
)
from bytemark_sync.sandbox.accounts import login_token
from bytemark_sync.sandbox.request_counts import fingerprint
from bytemark_sync.sandbox.wire import LOGIN_FORMS, LOGIN_REFUSALS, NO_TOKEN
from tests.support.raw_http import RIDER, WORLD, Raw, ask, log_in, post, uuids

OLD = RIDER.tokens[0]
USER = str(RIDER.user_id)


@pytest.fixture(scope="module")
def served() -> Iterator[Sandbox]:
    with Sandbox(WORLD) as sandbox:
        yield sandbox


@pytest.fixture
def box(served: Sandbox) -> Sandbox:
    served.reset()
    served.set_world(WORLD)
    return served


def token_of(raw: Raw) -> str:
    assert raw.status == 200
    return str(raw.json["data"]["oauth_token"])


def works(box: Sandbox, token: str) -> bool:
    return box.tokens()[fingerprint(token)].works


def test_a_login_gives_a_token_that_opens_the_riders_list_and_ends_the_older_ones(box: Sandbox) -> None:
    before = uuids(ask(box, token=OLD))
    first = token_of(log_in(box))
    assert first == login_token(RIDER.user_id, 1)
    assert ask(box, token=OLD).status == 401
    assert uuids(ask(box, token=first)) == before
    second = token_of(log_in(box))
    assert [ask(box, token=token).status for token in (OLD, first, second)] == [401, 401, 200]
    other = WORLD.riders[1].tokens[0]
    assert ask(box, token=other).status == 200
    states = box.tokens()
    assert {states[fingerprint(token)].user_id for token in (OLD, first, second)} == {RIDER.user_id}
    assert [states[fingerprint(token)].works for token in (OLD, first, second, other)] == [False, False, True, True]
    assert [states[fingerprint(token)].by_login for token in (OLD, first, second)] == [False, True, True]


def test_older_tokens_can_be_kept_and_the_bare_envelope_has_the_token_at_its_top() -> None:
    with Sandbox(WORLD, keeps_older_tokens=True, envelope="bare") as sandbox:
        new = log_in(sandbox).json["oauth_token"]
        assert ask(sandbox, token=OLD).status == ask(sandbox, token=new).status == 200


def test_wrong_credentials_are_refused_each_for_its_reason(box: Sandbox) -> None:
    wrong = log_in(box, password="x")
    assert (wrong.status, wrong.json["errors"][0]["message"]) == (401, f"Invalid email or password ({RIDER.email})")
    unknown = log_in(box, email="nobody@sandbox.invalid")
    assert (unknown.status, unknown.json["errors"][0]["code"]) == (400, 400104)
    assert log_in(box, client_id=None).json["errors"][0]["message"].startswith("Invalid client")
    assert [post(box, body).status for body in ("", "{}", "[]", '{"email": 1}')] == [400] * 4
    assert post(box, "", method="GET").status == 405
    assert ask(box, token=OLD).status == 200
    assert box.stats().logins.refused == {"wrong_password": 1, "unknown_account": 1, "client": 1, "unclear": 4}
    assert box.stats().logins.granted == {}


def test_only_the_clients_that_it_is_told_of_and_the_secret() -> None:
    with Sandbox(WORLD, client_ids=["ours", "portal"], client_secret="hush") as sandbox:
        sent = [("ours", None), ("ours", "no"), ("theirs", "hush"), ("ours", "hush"), ("portal", "hush")]
        answers = [log_in(sandbox, client_id=client, client_secret=secret).status for client, secret in sent]
        assert answers == [401, 401, 401, 200, 200]
        seen = sandbox.logins()
        assert [(one.client_id, one.secret) for one in seen] == [(client, bool(secret)) for client, secret in sent]


@pytest.mark.parametrize("reason", LOGIN_REFUSALS)
@pytest.mark.parametrize("form", LOGIN_FORMS)
def test_every_refusal_comes_in_every_form(box: Sandbox, reason: str, form: str) -> None:
    box.set_faults(FaultRule("refuse", reason=reason, form=form, status=418, users=[RIDER.user_id]))
    raw = log_in(box)
    known = LOGIN_REFUSALS[reason]
    assert raw.status == 418
    text = raw.body.decode()
    hint = str(known.code) if known.code and form in ("plain", "error_text") else known.message
    assert hint in text
    assert (known.word in text) == (form == "oauth")
    assert log_in(box, WORLD.riders[1]).status == 200
    assert works(box, OLD)
    assert box.stats().logins.refused == {reason: 1}


def test_a_refusal_can_have_a_code_of_its_own_and_come_on_http_200(box: Sandbox) -> None:
    box.set_faults("refuse:reason=client,status=200,code=4711")
    raw = log_in(box)
    assert (raw.status, raw.json["errors"][0]["code"]) == (200, 4711)


@pytest.mark.parametrize("form", NO_TOKEN)
def test_answers_without_a_token(box: Sandbox, form: str) -> None:
    box.set_faults(FaultRule("no_token", form=form))
    raw = log_in(box)
    assert (raw.status, raw.json) == (200, NO_TOKEN[form])
    assert works(box, OLD)


def test_a_token_that_is_rejected_at_once(box: Sandbox) -> None:
    box.set_faults("dead_token:times=1")
    dead = token_of(log_in(box))
    assert [ask(box, token=token).status for token in (dead, OLD)] == [401, 401]
    assert ask(box, token=token_of(log_in(box))).status == 200
    assert box.stats().logins.granted == {USER: 2}


def test_the_account_api_alone_can_be_down(box: Sandbox) -> None:
    for rules, status in (
        ("status:on=login,status=503", 503),
        ("status:on=login,status=429,retry_after=3", 429),
        ("outage:on=login", 503),
        ("errors:on=login", 200),
        ("not_json:on=login", 200),
    ):
        box.set_faults(rules)
        assert log_in(box).status == status
        assert ask(box).status == 200
    box.set_faults("close:on=login")
    assert log_in(box).closed
    box.set_faults("outage:on=orders")
    assert (log_in(box).status, ask(box).status) == (200, 503)
    box.set_faults("outage")
    assert (log_in(box).status, ask(box).status) == (503, 503)


def test_a_login_whose_answer_is_lost_has_taken_effect_all_the_same(box: Sandbox) -> None:
    box.set_faults("cut:on=login,times=1")
    assert log_in(box).closed
    assert ask(box, token=OLD).status == 401
    assert ask(box, token=token_of(log_in(box))).status == 200
    assert [(one.outcome, one.fault) for one in box.logins()] == [("granted", "cut"), ("granted", "")]


def test_one_limit_is_for_orders_and_logins(box: Sandbox) -> None:
    box.set_limit("quota=2,window=600,retry_after=9")
    assert [log_in(box).status, ask(box, token=login_token(RIDER.user_id, 1)).status] == [200, 200]
    refused = log_in(box)
    assert (refused.status, refused.headers["retry-after"]) == (429, "9")
    assert ask(box).status == 429
    assert box.stats().limit.refused == 2


def test_tokens_end_after_a_number_of_requests_in_the_middle_of_a_list(box: Sandbox) -> None:
    box.set_lifetimes("requests=2,of=world;requests=3,of=login")
    assert [ask(box, page, token=OLD).status for page in (1, 2, 3)] == [200, 200, 401]
    assert not works(box, OLD)
    new = token_of(log_in(box))
    assert [ask(box, page, token=new).status for page in (3, 1, 1, 1)] == [200, 200, 200, 401]
    box.set_lifetimes()
    assert ask(box, token=new).status == 401  # what has expired stays so


def test_tokens_end_after_seconds_or_when_told_and_for_some_riders_only(box: Sandbox) -> None:
    other = WORLD.riders[1].tokens[0]
    box.set_lifetimes(Lifetime(seconds=0, users=[RIDER.user_id]))
    assert [ask(box, token=token).status for token in (OLD, other)] == [401, 200]
    box.set_lifetimes("seconds=600")
    assert [ask(box, token=token).status for token in (OLD, other)] == [401, 200]
    third = WORLD.riders[2].tokens[0]
    box.end_tokens(WORLD.riders[2].user_id)
    assert [ask(box, token=token).status for token in (third, other)] == [401, 200]
    box.end_tokens()
    assert ask(box, token=other).status == 401
    assert ask(box, token=token_of(log_in(box))).status == 200


def test_another_world_begins_anew_unless_tokens_are_kept(box: Sandbox) -> None:
    new = token_of(log_in(box))
    box.set_world(WORLD, keep_tokens=True)
    assert [ask(box, token=token).status for token in (OLD, new)] == [401, 200]
    box.reset()
    assert [ask(box, token=token).status for token in (OLD, new)] == [401, 200]
    box.set_world(WORLD)
    assert [ask(box, token=token).status for token in (OLD, new)] == [200, 401]


def test_what_is_counted(box: Sandbox) -> None:
    box.set_faults("status:on=login,nth=1")
    for rider in (RIDER, RIDER, RIDER, WORLD.riders[1]):
        log_in(box, rider)
    log_in(box, email="nobody@sandbox.invalid")
    post(box, "{}", headers="Authorization: Bearer x\r\n")
    stats = box.stats()
    assert (stats.requests, stats.elsewhere, stats.connections) == (0, 0, 6)
    logins = stats.logins
    assert (logins.requests, logins.concurrent, logins.max_concurrent) == (6, 0, 1)
    assert logins.users == {USER: 3, str(WORLD.riders[1].user_id): 1}
    assert logins.granted == {USER: 2, str(WORLD.riders[1].user_id): 1}
    assert logins.refused == {"unknown_account": 1, "unclear": 1}
    assert logins.statuses == {"500": 1, "200": 3, "400": 2}
    assert logins.faults == {"status": 1}
    assert [one.authorization for one in box.logins()] == [False] * 5 + [True]
    assert box.logins()[1].token == fingerprint(login_token(RIDER.user_id, 1))
    kept = (str(box.stats()) + str(box.logins())).lower()
    assert RIDER.email not in kept
    assert RIDER.password not in kept


@pytest.mark.parametrize(
    "rule",
    [
        "refuse:on=orders",
        "refuse:reason=nonsense",
        "status:reason=client",
        "clamp:on=login",
        "status:on=login,pages=1",
        "status:on=nowhere",
        "outage:form=refuse,seconds=1,on=login",
        "no_token:form=nonsense",
    ],
)
def test_rules_that_make_no_sense_are_refused(rule: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_faults(rule)


@pytest.mark.parametrize("text", ["requests", "of=world", "requests=1,of=x", "colour=1", "requests=x", '[{"of": "x"}]'])
def test_lifetimes_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_lifetimes(text)


def test_what_a_run_with_renewal_must_store_written_out_by_hand() -> None:
    def rider(user: int, *tokens: str) -> Rider:
        return Rider(
            user, list(tokens), [ListedOrder(f"o{user}", [ListedItem("p", ["x"])])], f"{user}@x", f"word-{user}"
        )

    world = World(
        riders=[rider(1, "good"), rider(2), rider(3), rider(4), rider(5), rider(6)],
        orders=[PortalOrder(user, f"o{user}", user, "" if user == 3 else "stale") for user in (2, 3, 4, 5, 6)]
        + [PortalOrder(1, "o1", 1, "good")],
        tokens=[
            PortalToken(1, "", "1@x", "word-1"),
            PortalToken(2, "stale", "2@x", "word-2"),
            PortalToken(3, "", "3@x", "word-3"),
            PortalToken(4, "stale", "4@x", "wrong"),
            PortalToken(5, "stale", "5@x"),
            PortalToken(6, "stale", "6@x", "word-6"),
            PortalToken(6, "stale", "6@x", "wrong"),
        ],
    )
    assert [item[0] for item in world.expected_items()] == [1]
    assert [(item.order_id, item.oauth_token) for item in world.expected_items(renewal=True)] == [
        (1, "good"),
        (2, login_token(2, 1)),
        (3, login_token(3, 1)),
    ]
    assert world.expected_renewals() == {2, 3}
    assert world.expected_reasons(renewal=True) == dict.fromkeys((4, 5, 6), Reason.TOKEN_REJECTED)
    assert world.expected_reasons()[3] == Reason.NO_TOKEN
    assert world.expected_failed_users(renewal=True) == {4, 5, 6}
