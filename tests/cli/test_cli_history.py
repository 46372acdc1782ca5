"""``inhouse events`` and ``inhouse why``: what they send and how it reads."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cli.scripted import Api, Invoke, Refusal
from inhouse.cli import history

EVENT = {
    "number": 7,
    "time": "2020-05-01T10:00:00.000Z",
    "kind": "eviction",
    "model": "tiny:latest",
    "cause": "Its memory was needed for big:latest.",
    "remedy": "More memory for models.",
    "request_id": "req_1",
    "facts": {},
}
SUMMARY = {
    "request_id": "req_1",
    "time": "2020-05-01T10:00:00.000Z",
    "model": "tiny:latest",
    "outcome": "ok",
    "seconds": 13.5,
    "ttft": 12.5,
    "error": None,
    "longest": {"name": "evict", "share": 0.9},
    "finding": "",
}
WAY: dict[str, Any] = {
    **SUMMARY,
    "endpoint": "/v1/chat/completions",
    "engine": "llamacpp",
    "variant": "native",
    "build": "b9",
    "tokens": {"prompt_tokens": 6200, "drafted_tokens": 100},
    "rates": {"prefill": 900.0, "decode": 7.25, "cached": 0.5, "accepted": 0.75, "ttft": 12.5},
    "usual": {"prefill": None, "decode": 14.0, "cached": None, "accepted": None, "ttft": None},
    "together": 3.7,
    "parts": [
        {"name": "evict", "seconds": 12.0, "share": 0.88, "cause": "big was in the way.", "remedy": ""},
        {"name": "decode", "seconds": 1.5, "share": 0.11, "cause": "11 tokens were written.", "remedy": ""},
        {"name": "other", "seconds": 0.001, "share": 0.0001, "cause": "", "remedy": ""},
    ],
    "findings": [{"what": "It waited 12.0 s.", "remedy": "Raise INHOUSE_MEMORY.", "seconds": 12.0}],
    "events": [EVENT],
    "others": 2,
}


def test_events_are_lines_with_their_remedy(api: Api, invoke: Invoke) -> None:
    more = EVENT | {"kind": "refusal", "remedy": "", "request_id": "", "facts": {"times": 41}}
    api.routes["/api/events?since=1h&model=tiny"] = {"events": [EVENT, more], "last": 8, "dropped": 2}
    result = invoke("events", "--since", "1h", "--model", "tiny")
    lines = result.out.splitlines()
    assert "eviction" in lines[0]
    assert lines[0].endswith("tiny:latest: Its memory was needed for big:latest.")
    assert lines[1].strip() == "Help: More memory for models."
    assert lines[2].strip() == "Request: req_1"
    assert lines[3].endswith("(41 more like it)")
    assert "2 lines could not be written" in result.err


def test_events_as_json_and_followed(api: Api, invoke: Invoke) -> None:
    api.routes["/api/events?kind=eviction&limit=5"] = {"events": [EVENT], "last": 7, "dropped": 0}
    assert json.loads(invoke("events", "--kind", "eviction", "--limit", "5", "--json").out) == [EVENT]
    api.routes["/api/events?follow=true"] = [EVENT, EVENT]
    followed = invoke("events", "--follow", "--json").out.splitlines()
    assert [json.loads(line) for line in followed] == [EVENT, EVENT]
    assert invoke("events", "-f").out.count("eviction") == 2


def test_the_way_of_a_request_reads_from_top_to_bottom(api: Api, invoke: Invoke) -> None:
    api.routes["/api/why/req_1"] = WAY
    out = invoke("why", "req_1").out
    assert "tiny:latest on llamacpp/native/b9: ok in 13.50s, first token after 12.50s" in out
    bars = [line for line in out.splitlines() if "█" in line or "#" in line]
    assert [line.split()[0] for line in bars] == ["evict", "decode"]
    assert bars[0].count(bars[0].split()[3][0]) > 5 * bars[1].count(bars[1].split()[3][0])
    for text in (
        "7.2 tokens/s (usually 14.0)", "50% of 6,200 prompt tokens", "75% of them right", "3.7 requests ran",
        "- It waited 12.0 s.", "Help: Raise INHOUSE_MEMORY.", "Meanwhile:", "2 more requests had this id",
    ):  # fmt: skip
        assert text in out
    assert json.loads(invoke("why", "req_1", "--json").out) == WAY


def test_who_asked_and_how_far_it_came_stand_at_the_top(api: Api, invoke: Invoke) -> None:
    so_far = {"outcome": "running", "state": "loading", "ttft": None, "key": "alice", "findings": []}
    api.routes["/api/why/req_1"] = WAY | so_far
    first, second = invoke("why", "req_1").out.splitlines()[:2]
    assert first.endswith("  key alice")
    assert second == "tiny:latest on llamacpp/native/b9: still running (loading), 13.50s so far"


def test_the_last_request_and_all_of_an_id(api: Api, invoke: Invoke) -> None:
    api.routes["/api/why?limit=1&model=tiny"] = {"requests": [SUMMARY]}
    api.routes["/api/why/req_1"] = WAY | {"others": 0, "findings": [], "events": []}
    assert "Nothing stands out." in invoke("why", "--last", "--model", "tiny").out
    api.routes["/api/why/req_1?all=true"] = {"requests": [WAY | {"others": 0}] * 2}
    assert invoke("why", "req_1", "--all").out.count("/v1/chat/completions") == 2
    assert len(json.loads(invoke("why", "req_1", "--all", "--json").out)) == 2


def test_lists(api: Api, invoke: Invoke) -> None:
    api.routes["/api/why?order=slowest"] = {"requests": [SUMMARY, SUMMARY | {"ttft": None, "longest": None}]}
    head, first, second = invoke("why", "--slow").out.splitlines()
    assert head.split() == ["REQUEST", "TIME", "MODEL", "OUTCOME", "TOOK", "FIRST", "LONGEST"]
    assert first.split()[0] == "req_1"
    assert first.endswith("evict 90%")
    assert second.split()[-2:] == ["-", "-"]
    api.routes["/api/why?order=latest"] = {"requests": []}
    assert json.loads(invoke("why", "--json").out) == []


@pytest.mark.parametrize(
    "args", [("why", "a", "--last"), ("why", "--last", "--slow"), ("events", "--limit", "0")]
)
def test_what_does_not_go_together_is_refused(api: Api, invoke: Invoke, args: tuple[str, ...]) -> None:
    assert invoke(*args).code == 2


def test_unknown_requests_and_bad_queries_end_with_their_codes(api: Api, invoke: Invoke) -> None:
    api.routes["/api/why/x"] = Refusal(404, {"error": "No request 'x' is known."})
    assert invoke("why", "x").code == 3
    api.routes["/api/why?limit=1"] = {"requests": []}
    assert invoke("why", "--last").code == 3
    api.routes["/api/events?since=never"] = Refusal(400, {"error": "'since' is neither"})
    assert invoke("events", "--since", "never").code == 2


def test_no_server_is_started_to_say_that_nothing_happened(home: Path, invoke: Invoke) -> None:
    result = invoke("events")
    assert (result.code, result.out) == (0, "")
    assert "Nothing has happened" in result.err
    assert json.loads(invoke("events", "--json").out) == []
    assert json.loads(invoke("why", "--json").out) == []
    assert invoke("why", "--last").code == 3
    assert not home.exists()


def test_times_of_today_need_no_date() -> None:
    now = datetime(2026, 5, 2, 12, tzinfo=UTC)
    assert history.when("2026-05-02T10:11:12.000Z", now) == "10:11:12"
    assert history.when("2026-05-01T10:11:12.000Z", now) == "2026-05-01 10:11:12"
    assert history.when("soon", now) == "soon"
