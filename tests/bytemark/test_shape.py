"""The shape of answers: names and types in bounded memory, and nothing that is data."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytemark_sync.bytemark.shape import MAX_PATH_LENGTH, MAX_PATHS, SEEN, Shape, paths_of
from bytemark_sync.bytemark.shape_sampler import EVERY, FIRST_ANSWERS, ShapeSampler
from bytemark_sync.bytemark.token import Token
from tests.support.scripted_api import order, page


def look(value: Any, token: str = "") -> dict[str, set[str]]:
    return paths_of(json.dumps(value).encode(), token)


def test_names_and_types_are_kept_and_no_value() -> None:
    assert look(page(order("A", "p1"), total=1)) == {
        "": {"object"},
        "server_time": {"text"},
        "data": {"object"},
        "data.orders": {"list"},
        "data.orders[]": {"object"},
        "data.orders[].uuid": {"text"},
        "data.orders[].order_items": {"list"},
        "data.orders[].order_items[]": {"object"},
        "data.orders[].order_items[].uuid": {"text"},
        "data.orders[].order_items[].product": {"object"},
        "data.orders[].order_items[].product.uuid": {"text"},
        "data.orders[].order_items[].passes": {"list"},
        "data.orders[].order_items[].passes[]": {"object"},
        "data.orders[].order_items[].passes[].uuid": {"text"},
        "data.orders[].order_items[].passes[].status": {"text"},
        "data.total_count": {"number"},
        "errors": {"list"},
    }
    assert look([1, 2.5, None, True, "x", {}, []])["[]"] == {
        "number", "null", "boolean", "text", "object", "list",
    }  # fmt: skip


@pytest.mark.parametrize(
    "key",
    [
        "0f8fad5b-d9cd-469f-a165-70867728950e",
        "0f8fad5bd9cd469fa16570867728950e",
        "deadbeef",
        "12345",
        "7",
        "rider@example.org",
        "key-101",
        "tok_8f3kd93kd",
        "a b",
        "a.b",
        "a[]",
        "",
        "x" * 41,
        "Jos\u00e9",
        "my-own-token",
        "own-token",
    ],
)
def test_a_key_that_looks_like_data_is_no_name(key: str) -> None:
    assert look({"orders": {key: {"uuid": 1}}}, "my-own-token") == {
        "": {"object"},
        "orders": {"object"},
        "orders.*": {"object"},
        "orders.*.uuid": {"number"},
    }


def test_an_object_of_very_many_keys_is_a_map() -> None:
    names = [f"{a}{b}" for a in "abcdefgh" for b in "klmnopqrs"]
    assert look(dict.fromkeys(names, 1)) == {"": {"object"}, "*": {"number"}}


@pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 5000, b'{"a": \xff}'])
def test_what_is_not_json_has_no_shape(body: bytes) -> None:
    assert paths_of(body) == {}


words = st.text("abcdefghijklmnop", min_size=1, max_size=30)
trees = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(words | st.text(), inner, max_size=30),
    max_leaves=60,
)


@pytest.mark.slow
@given(values=st.lists(trees, max_size=3))
@settings(max_examples=30, deadline=None)
def test_whatever_is_answered_the_memory_is_bounded(values: list[Any]) -> None:
    sampler = ShapeSampler()
    for value in values:
        for token in ("k1", "k2"):
            sampler.look(json.dumps(value).encode(), Token(token))
    shape = sampler.drain()
    assert len(shape.members) <= MAX_PATHS
    assert all(len(path) <= MAX_PATH_LENGTH for path in shape.members)
    assert shape.answers == 2 * len(values)
    assert Shape.from_json(json.loads(json.dumps(shape.to_json()))) == shape


def test_a_member_counts_once_two_tokens_have_had_it_and_then_from_the_first_answer_on() -> None:
    sampler = ShapeSampler()
    body = b'{"orders": [], "hunter": 1}'
    for _ in range(3):
        sampler.look(body, Token("k1"))
    assert sampler.drain().members == {}
    sampler.look(b'{"orders": null}', Token("k2"))
    shape = sampler.drain()
    assert shape.members == {"": {SEEN: 4, "object": 4}, "orders": {SEEN: 4, "list": 3, "null": 1}}
    assert shape.answers == 1
    assert "hunter" not in repr(shape)


def test_keys_that_come_once_do_not_keep_others_out() -> None:
    sampler = ShapeSampler()
    for number in range(40):
        names = {f"n{chr(97 + number % 26)}{chr(97 + number // 26)}{chr(97 + one)}": 1 for one in range(20)}
        sampler.look(json.dumps({"orders": [], **names}).encode(), Token(f"k{number}"))
    assert set(sampler.drain().members) == {"", "orders"}


def test_the_first_answers_are_looked_at_and_then_a_sample() -> None:
    sampler = ShapeSampler()
    for number in range(FIRST_ANSWERS + 10 * EVERY):
        sampler.look(b"{}", Token(f"k{number}"))
    assert sampler.drain().answers == FIRST_ANSWERS + 10
