"""`Q_CLUSTER` starts no task twice, repeats none for ever and loses none (docs/decisions/0005-queue-arithmetic.md)."""

from __future__ import annotations

import inspect
import json
import math
import re

import pytest
from django_q import conf

from tests.support.harness import python

REFUSED = {"django_redis", "iron_mq", "sqs", "broker_class", "mongo", "mongo_db", "cluster_name", "ALT_CLUSTERS"}
"""Keys of django-q2 that lead to another broker, or to a second cluster with values of its own."""


@pytest.mark.parametrize("redis", ["", "redis://127.0.0.1:6379/0"])
def test_the_queue_starts_no_task_twice_and_repeats_and_loses_none(redis: str) -> None:
    code = "import json; from project import settings; print(json.dumps([settings.Q_CLUSTER, settings.TIME_ZONE]))"
    done = python(code, env={"DEBUG": "1", "REDIS_URL": redis})
    queue, time_zone = json.loads(done.stdout)
    # What django-q2 does not read it ignores in silence.
    read = set(re.findall(r'conf\.get\(\s*"(\w+)"', inspect.getsource(conf)))
    assert set(queue) <= read - REFUSED
    assert ("orm" in queue, "redis" in queue) == (not redis, bool(redis))
    assert all(type(queue[key]) is int and queue[key] >= 1 for key in ("workers", "queue_limit", "timeout", "retry"))
    assert queue["timeout"] >= 60
    # The retry clock starts when a task leaves the broker: what waits in memory waits for a free worker first.
    rounds = math.ceil((queue["queue_limit"] + queue.get("bulk", 1)) / queue["workers"])
    assert queue["retry"] > queue["timeout"] * (1 + rounds)
    assert (queue["max_attempts"], queue["ack_failures"], queue["catch_up"]) == (1, True, False)
    assert not {"sync", "cached", "testing"} & set(queue)
    assert queue.get("scheduler", True) is True
    assert queue.get("time_zone", time_zone) == time_zone
