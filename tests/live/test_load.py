"""The judge of `make drill` and of the rolls finds what it is there for."""
import collections

import drill
import pytest
from load import Load, Outcome, failure_of, longest_outage, report


def outcome(at, failure=None, rpc="posts GetArticle", idempotent=True):
    return Outcome(rpc, idempotent, at, 0.1, failure)


class Nobody:
    address, tokens = "127.0.0.1:1", ()

    @staticmethod
    def requests(_rng):
        return iter(())


def load_of(outcomes, acknowledged=("a", "b"), given_up=()):
    load = Load(Nobody, 1)
    load.outcomes, load.acknowledged, load.given_up = list(outcomes), list(acknowledged), list(given_up)
    return load


STORED = collections.Counter({"a": 1, "b": 1})


@pytest.mark.parametrize("failed, holds", ((0, True), (1, True), (2, False)))
def test_one_in_ten_thousand_may_fail(failed, holds):
    outcomes = [outcome(i) for i in range(10000 - failed)] + [outcome(i, "502 Bad Gateway") for i in range(failed)]
    # A write that failed was sent again, and is not counted.
    outcomes.append(outcome(1, "502 Bad Gateway", "posts CreateArticle", idempotent=False))
    lines, found = drill.judge(load_of(outcomes), STORED)
    assert found == holds and f"idempotent requests: 10000, failed {failed}" in lines[0]


@pytest.mark.parametrize("change, sentence", (
    ({"stored": {"a": 1}}, "b is acknowledged and stored 0 times"),
    ({"stored": {"a": 2, "b": 1}}, "a is acknowledged and stored 2 times"),
    ({"given_up": ["c"], "stored": {"a": 1, "b": 1, "c": 2}}, "c is given up and stored 2 times"),
    ({"given_up": ["c"]}, "1 given up"),
    ({"acknowledged": []}, "0 acknowledged"),
))
def test_each_write_is_there_once(change, sentence):
    stored = collections.Counter(change.pop("stored", STORED))
    lines, holds = drill.judge(load_of([outcome(i) for i in range(10)], **change), stored)
    assert not holds and sentence in "\n".join(lines)


def test_nothing_asked_is_nothing_shown():
    assert not drill.judge(load_of([]), STORED)[1]


def test_a_client_that_broke_is_a_failure():
    load = load_of([outcome(1)])
    load.broken.append("KeyError('x')")
    lines, holds = drill.judge(load, STORED)
    assert not holds and "KeyError('x')" in lines


def test_outages():
    assert longest_outage([outcome(i) for i in range(5)]) == 0
    assert longest_outage([outcome(0), outcome(1, "x"), outcome(2), outcome(3), outcome(4, "x"), outcome(6)]) == pytest.approx(3)
    assert longest_outage([outcome(0), outcome(1, "x"), outcome(9, "x")]) == pytest.approx(9)
    # One that began before the outage and was answered in its midst is none of it.
    assert longest_outage([outcome(0), outcome(1, "x"), outcome(1.5), outcome(2, "x"), outcome(2.5)]) == pytest.approx(1.5)


def test_kinds_of_failures():
    assert failure_of(200, b"{}") is None
    assert failure_of(503, b'{"title": "Service Unavailable", "reason": "STOPPING"}') == "503 STOPPING"
    assert failure_of(502, b'{"title": "Bad Gateway"}') == "502 Bad Gateway"
    assert failure_of(502, b"<html>") == "502 b'<html>'"


def test_the_report_names_each_kind():
    text = "\n".join(report([outcome(0), outcome(1, "502 Bad Gateway"), outcome(2, "TimeoutError", "chat GetRoom")]))
    assert "1 times 502 Bad Gateway" in text and "1 times TimeoutError" in text
    assert "longest outage of posts" in text and "longest outage of chat" in text
