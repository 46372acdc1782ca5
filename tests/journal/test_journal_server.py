"""Events and whys of a real server: what it writes down, who may read it, what outlives it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from inhouse.core.engine import Launch
from inhouse.core.events import Finished
from inhouse.core.journal import Record
from inhouse.core.requests import Caller
from inhouse.core.usage import Step, Timings, Usage
from inhouse.engines.fake import FakeRecipe
from inhouse.fleet import Loaded
from inhouse.journal import Line, Trace, explain
from inhouse.ledger import Entry, Meter
from inhouse.server.keys import Keys
from inhouse.server.manage.events import Wanted
from inhouse.server.manage.metrics import exposition
from inhouse.server.manage.why import _shown as shown_way
from support.running import Answer, Server, fake, serving, until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("home"), INHOUSE_ENGINE="fake") as running:
        yield running


def local(server: Server) -> dict[str, str]:
    """What the command line of the server's own user sends."""
    return {"x-inhouse-local": json.loads((server.home / "server.json").read_text())["token"]}


def why(server: Server, id: str, headers: dict[str, str] | None = None, query: str = "") -> Answer:
    return server.ask("GET", f"/api/why/{id}{query}", headers=headers or local(server))


def ask(server: Server, text: str, id: str, key: str = "", **more: Any) -> Answer:
    body = {"model": "fake", "messages": [{"role": "user", "content": text}], **more}
    headers = {"x-request-id": id, **({"authorization": f"Bearer {key}"} if key else {})}
    return server.ask("POST", "/v1/chat/completions", body, headers)


def test_the_way_of_a_request_is_told_to_the_end(server: Server) -> None:
    assert ask(server, fake(tokens=20, rate=100, prefill=0.2), "whole-1").status == 200
    way = why(server, "whole-1").json
    assert (way["outcome"], way["model"], way["endpoint"]) == ("ok", "fake:latest", "/v1/chat/completions")
    parts = {part["name"]: part["seconds"] for part in way["parts"]}
    assert parts["prefill"] == pytest.approx(0.2, abs=0.05)
    assert parts["decode"] == pytest.approx(0.2, abs=0.1)
    assert sum(parts.values()) == pytest.approx(way["seconds"], abs=0.05)
    assert way["tokens"]["completion_tokens"] == 20
    assert way["rates"]["decode"] == pytest.approx(100, rel=0.5)
    assert way["ttft"] >= 0.2


def test_streams_refusals_and_other_dialects_have_ways_too(server: Server) -> None:
    assert ask(server, fake(tokens=3), "stream-1", stream=True).status == 200
    assert why(server, "stream-1").json["tokens"]["completion_tokens"] == 3
    bad = server.ask("POST", "/api/chat", {"model": "nope", "messages": []}, {"x-request-id": "bad-1"})
    assert bad.status == 404
    told = why(server, "bad-1").json
    assert (told["outcome"], told["error"]["code"]) == ("refused", "model_not_found")
    assert "nope" in told["findings"][0]["what"]
    broken = server.ask("POST", "/v1/messages", {"model": "fake"}, {"x-request-id": "bad-2"})
    assert broken.status == 400
    assert why(server, "bad-2").json["error"]["code"] == "invalid_request"


def test_a_cancelled_request_says_so(server: Server) -> None:
    body = {
        "model": "fake",
        "stream": True,
        "messages": [{"role": "user", "content": fake(tokens=9999, rate=50)}],
    }
    sock = server.open("/v1/chat/completions", body)
    until(lambda: server.busy() == 1)
    sock.close()

    def latest() -> list[dict[str, Any]]:
        return list(server.ask("GET", "/api/why?limit=1", headers=local(server)).json["requests"])

    until(lambda: [one["outcome"] for one in latest()] == ["cancelled"])
    assert latest()[0]["model"] == "fake:latest"


def test_an_id_that_comes_again_shows_the_latest_and_all_when_asked(server: Server) -> None:
    for tokens in (1, 2, 3):
        ask(server, fake(tokens=tokens), "again")
    assert why(server, "again").json["tokens"]["completion_tokens"] == 3
    assert why(server, "again").json["others"] == 2
    every = why(server, "again", query="?all=true").json["requests"]
    assert [one["tokens"]["completion_tokens"] for one in every] == [3, 2, 1]


def test_one_key_does_not_see_the_requests_of_another(server: Server) -> None:
    ask(server, fake(tokens=1), "anns", key="ann")
    ann, bob = {"authorization": "Bearer ann"}, {"authorization": "Bearer bob"}
    assert why(server, "anns", ann).status == 200
    hidden = why(server, "anns", bob)
    assert hidden.status == 404
    assert hidden.json == json.loads(why(server, "nobody", bob).body.replace(b"nobody", b"anns"))
    assert why(server, "anns").status == 200, "the operator sees all"
    listed = {one["request_id"] for one in server.ask("GET", "/api/why", headers=bob).json["requests"]}
    assert "anns" not in listed
    ids = {
        one["request_id"]
        for one in server.ask("GET", "/api/why?limit=1000", headers=local(server)).json["requests"]
    }
    assert "anns" in ids


def test_keys_are_told_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("boss = k-one\nalice = k-two\n")
    file = {"INHOUSE_API_KEYS_FILE": str(tmp_path / "keys"), "INHOUSE_API_KEY": ""}
    with serving(tmp_path / "home", INHOUSE_ENGINE="fake", **file) as server:
        ask(server, fake(tokens=1), "hers", key="k-two")
        boss, alice = ({"authorization": f"Bearer {key}"} for key in ("k-one", "k-two"))
        assert why(server, "hers", boss).json["key"] == "alice"
        assert why(server, "hers", alice).json["key"] == "alice"
        listed = server.ask("GET", "/api/why", headers=boss)
        assert listed.json["requests"][0]["key"] == "alice"
        assert b"k-two" not in listed.body + why(server, "hers", boss).body


def test_a_request_that_is_not_over_tells_how_far_it_came(tmp_path: Path) -> None:
    slow = json.dumps({"load_seconds": 1.5, "slots": 1})
    body = {"model": "fake", "stream": True}
    say = [{"role": "user", "content": fake(tokens=400, rate=100, prefill=0.1)}]
    with serving(tmp_path, INHOUSE_ENGINE="fake", INHOUSE_FAKE=slow) as server, ThreadPoolExecutor() as pool:

        def now(id: str) -> Any:
            found = why(server, id)
            return found.json if found.status == 200 else {}

        runs = [pool.submit(ask, server, say[0]["content"], "first", **body)]
        until(lambda: now("first").get("state") == "loading")
        way = now("first")
        assert (way["outcome"], way["model"]) == ("running", "fake:latest")
        runs.append(pool.submit(ask, server, fake(tokens=1), "second"))
        until(lambda: now("second").get("state") == "loading")
        [step] = [part for part in way["parts"] if part["name"] == "load"]
        assert 0 < step["seconds"] <= way["seconds"] < 1.6
        until(lambda: now("first").get("state") == "answering")
        way = now("first")
        assert way["ttft"] >= 1.5
        assert way["engine"] == "fake"
        assert {"load", "decode"} <= {part["name"] for part in way["parts"]}
        until(lambda: now("second").get("state") == "waiting")
        [queue] = [part for part in now("second")["parts"] if part["name"] == "queue"]
        assert "Behind 1 request in line for fake:latest" in queue["cause"]
        bob = {"authorization": "Bearer bob"}
        assert why(server, "second", bob).status == 404
        assert [run.result().status for run in runs] == [200, 200]
        assert (now("first")["state"], now("first")["outcome"]) == ("ended", "ok")


def test_who_unloaded_a_model_is_not_told_to_others() -> None:
    steps = (Step("load", 1.0),)
    trace = Trace(id="bobs", at=100.0, model="m", seconds=2.0, outcome="ok", steps=steps)
    lines = [
        Line(1, 50.0, Record("eviction", "m", "Its memory was needed.", request_id="anns")),
        Line(2, 101.0, Record("load", "m", "A request asked for it.", request_id="bobs")),
    ]
    ids = {
        whole: [one["request_id"] for one in shown_way(Keys(), explain(trace, (), lines), whole)["events"]]
        for whole in (True, False)
    }
    assert ids == {True: ["anns", "bobs"], False: ["", "bobs"]}


def test_who_follows_on_after_a_number_misses_nothing() -> None:
    lines = [Line(number, 1.0, Record("notice", "m", "Something.")) for number in range(1, 301)]
    assert [line.number for line in Wanted(after=10).of_all(lines)] == list(range(11, 211))
    assert [line.number for line in Wanted(after=10, follow=True).of_all(lines)] == list(range(11, 301))
    assert [line.number for line in Wanted(follow=True).of_all(lines)] == list(range(101, 301))


def test_the_page_is_made_while_requests_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    meter, numbers, add = Meter(), itertools.count(), CounterMetricFamily.add_metric

    def meanwhile(*arguments: Any) -> None:
        number = next(numbers)
        meter.recorded(Record("retry", f"m{number}", ""))
        meter.refusals[(f"m{number}", "queue_full")] += 1
        add(*arguments)

    meter.recorded(Record("retry", "m", ""))
    meter.refusals[("m", "queue_full")] += 1
    monkeypatch.setattr(CounterMetricFamily, "add_metric", meanwhile)
    page, _ = exposition(meter, (), {}, {})
    assert b'inhouse_events_total{kind="retry",model="m"} 1.0' in page


def test_the_slowest_come_first(server: Server) -> None:
    ask(server, fake(tokens=1, prefill=0.7), "slow-1")
    for number in range(3):
        ask(server, fake(tokens=1), f"quick-{number}")
    found = server.ask("GET", "/api/why?order=slowest&limit=1000&model=FAKE", headers=local(server)).json[
        "requests"
    ]
    took = [one["seconds"] for one in found]
    assert took == sorted(took, reverse=True)
    assert next(one for one in found if one["request_id"] == "slow-1")["longest"]["name"] == "prefill"
    assert server.ask("GET", "/api/why?model=other", headers=local(server)).json == {"requests": []}


@pytest.mark.parametrize(
    "query",
    ["since=yesterday", "since=2026-99-99T00:00:00Z", "kind=disaster", "limit=0", "limit=10001", "limit=x",
     "after=-1", "follow=perhaps", "model=../x", "since=nan", "&".join(f"a{n}=1" for n in range(200))],
)  # fmt: skip
def test_a_bad_query_is_refused(server: Server, query: str) -> None:
    answer = server.ask("GET", f"/api/events?{query}")
    assert answer.status == 400
    assert answer.json["error"]


@pytest.mark.parametrize("query", ["order=fastest", "limit=0", "model=../x"])
def test_a_bad_list_is_refused(server: Server, query: str) -> None:
    assert server.ask("GET", f"/api/why?{query}").status == 400


def test_events_can_be_chosen(server: Server) -> None:
    all_of_them = server.ask("GET", "/api/events", headers=local(server)).json
    assert all_of_them["last"] == all_of_them["events"][-1]["number"]
    kinds = {one["kind"] for one in all_of_them["events"]}
    assert "server" in kinds
    only = server.ask("GET", "/api/events?kind=server&limit=1").json["events"]
    assert [one["facts"]["state"] for one in only] == ["started"]
    assert server.ask("GET", "/api/events?since=2100-01-01T00:00:00Z").json["events"] == []
    assert server.ask("GET", "/api/events?since=1970-01-01T00:00:00+02:00&limit=1").json["events"]
    assert server.ask("GET", f"/api/events?after={all_of_them['last']}").json["events"] == []
    assert server.ask("GET", "/api/events?model=nobody").json["events"] == []
    assert server.ask("HEAD", "/api/events?follow=true").body == b""


def follow(server: Server, accept: str) -> tuple[contextlib.closing[Any], HTTPResponse]:
    connection = server.connect(10)
    connection.request(
        "GET", "/api/events?follow=true&kind=eviction", headers={"accept": accept, **local(server)}
    )
    return contextlib.closing(connection), connection.getresponse()


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_events_are_followed_as_they_happen(server: Server, accept: str) -> None:
    ask(server, fake(tokens=1), "load-1")
    closing, answer = follow(server, accept)
    with closing:
        assert answer.status == 200
        server.ask("POST", "/api/generate", {"model": "fake", "keep_alive": 0})
        line = answer.readline()
        while line.strip() == b"" or line.startswith((b"id:", b":")):
            line = answer.readline()
        event = json.loads(line.removeprefix(b"data: "))
    assert (event["kind"], event["model"]) == ("eviction", "fake:latest")
    assert event["cause"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_follower_does_not_hold_the_server_up(tmp_path: Path) -> None:
    with serving(tmp_path, INHOUSE_ENGINE="fake") as server:
        closing, answer = follow(server, "application/json")
        with closing:
            assert server.stop(wait=8) == 0
            assert answer.read().strip() == b""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_what_happened_outlives_the_server_and_a_kill_is_noticed(tmp_path: Path) -> None:
    server = Server(tmp_path, {"INHOUSE_ENGINE": "fake"}).start()
    ask(server, fake(tokens=2), "before")
    os.kill(server.worker(), signal.SIGKILL)
    until(lambda: ask(server, fake(tokens=1), "after-kill").status == 200)
    server.stop()
    server.start()
    assert why(server, "before").json["tokens"]["completion_tokens"] == 2
    events = server.ask("GET", "/api/events", headers=local(server)).json["events"]
    states = [one["facts"]["state"] for one in events if one["kind"] == "server"]
    assert states == ["started", "stopped", "started"]
    assert "restart" in {one["kind"] for one in events}
    assert [one["number"] for one in events] == list(range(1, len(events) + 1))
    assert events[-1]["facts"]["after"] == "clean"
    worker = server.worker() if server.loaded() else None
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    server.start()
    last = server.ask("GET", "/api/events?kind=server", headers=local(server)).json["events"][-1]
    assert last["facts"]["after"] == "broken"
    assert "did not end by itself" in last["cause"]
    assert worker is None or not psutil.pid_exists(worker)
    server.stop()


def test_nothing_of_prompts_keys_or_places_is_written_down(tmp_path: Path) -> None:
    with serving(tmp_path, INHOUSE_ENGINE="fake", INHOUSE_API_KEY="s3cret-key") as server:
        key = {"authorization": "Bearer s3cret-key"}
        body = {"model": "fake", "messages": [{"role": "user", "content": fake(text="my-secret-answer")}]}
        assert server.ask("POST", "/v1/chat/completions", body, {**key, "x-request-id": "mine"}).status == 200
        server.ask("POST", "/v1/chat/completions", {**body, "model": "no-such"}, key)
        assert server.ask("GET", "/api/why/mine", headers=key).json["outcome"] == "ok", (
            "its key is the operator's"
        )
        assert server.ask("GET", "/api/why/mine").status == 401
        events = server.ask("GET", "/api/events", headers=key).body
    kept = b"".join(path.read_bytes() for path in (tmp_path / "journal").iterdir()) + events
    assert b"mine" in kept
    for secret in (b"my-secret-answer", b"s3cret-key", str(tmp_path).encode(), b"127.0.0.1"):
        assert secret not in kept


def test_without_room_on_disk_all_is_in_memory(tmp_path: Path) -> None:
    with serving(tmp_path, INHOUSE_ENGINE="fake", INHOUSE_JOURNAL_SIZE="0") as server:
        ask(server, fake(tokens=1), "volatile")
        assert why(server, "volatile").status == 200
        assert not (tmp_path / "journal").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_a_journal_that_cannot_be_written_fails_no_request(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("in the way")
    with serving(tmp_path, INHOUSE_ENGINE="fake") as server:
        assert ask(server, fake(tokens=1), "r1").status == 200
        assert why(server, "r1").status == 200
        until(lambda: server.metric("inhouse_journal_dropped_total", book="traces") >= 1)
        assert server.log.read_text().count("not written down") == 2


# metrics


def page(meter: Meter, **dropped: int) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    data, _ = exposition(meter, [], {"engine": "fake"}, dropped)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(data.decode())
        for sample in family.samples
    }


def test_the_page_tells_how_much_work_waits_and_not_only_how_many() -> None:
    with_work = Loaded(
        card=FakeRecipe({}).cards()[0],
        context_length=1024,
        slots=1,
        busy=1,
        waiting=2,
        memory=1,
        expires_in=9.0,
        state="ready",
        engine="fake",
        build="fake",
        pid=None,
        queued_work=4321,
    )
    data, _ = exposition(Meter(), [with_work], {}, {})
    assert b'inhouse_model_waiting_tokens{model="fake:latest"} 4321.0' in data


def test_the_page_counts_what_is_new() -> None:
    meter = Meter()
    entry = Entry(Caller("r", endpoint="/v1/x"), "m", "chat", meter.record)
    entry.model = "m"
    entry.by(Launch("llama", (), "", variant="native", build="b1"))
    entry.steps = (Step("queue", 1.5), Step("restore", 0.25), Step("queue", 0.5))
    usage = Usage(100, 40, 60, drafted_tokens=30, accepted_tokens=20, restored_tokens=50, restored_bytes=700)
    entry.note(Finished(usage, Timings()))
    entry.close()
    assert (entry.engine, entry.variant, entry.build) == ("llama", "native", "b1")
    meter.recorded(Record("retry", "m", "Too large."))
    meter.recorded(Record("eviction", "m", "Room."))
    found = page(meter, events=3, traces=0)
    model = ("model", "m")
    assert found["inhouse_drafted_tokens_total", (model,)] == 30
    assert found["inhouse_accepted_tokens_total", (model,)] == 20
    assert found["inhouse_restored_tokens_total", (model,)] == 50
    assert found["inhouse_prefix_restores_total", (model,)] == 1
    assert found["inhouse_prefix_restored_bytes_total", (model,)] == 700
    assert found["inhouse_request_steps_total", (model, ("step", "queue"))] == 2
    assert found["inhouse_request_step_seconds_total", (model, ("step", "queue"))] == 2.0
    assert found["inhouse_load_retries_total", (model,)] == 1
    assert found["inhouse_events_total", (("kind", "eviction"), model)] == 1
    assert found["inhouse_journal_dropped_total", (("book", "events"),)] == 3


def test_refusals_and_missed_deadlines_are_counted(tmp_path: Path) -> None:
    env = {"INHOUSE_SLOTS": "1", "INHOUSE_MAX_QUEUE": "1", "INHOUSE_QUEUE_TIMEOUT": "1s"}
    with serving(tmp_path, INHOUSE_ENGINE="fake", **env) as server:
        ask(server, fake(tokens=1), "warm")
        holder = {"model": "fake", "stream": True,
                  "messages": [{"role": "user", "content": fake(tokens=9999, rate=50)}]}  # fmt: skip
        with contextlib.closing(server.open("/v1/chat/completions", holder)):
            until(lambda: server.busy() == 1)
            with contextlib.closing(server.open("/v1/chat/completions", holder)):
                until(lambda: server.loaded()[0]["waiting"] == 1)
                for number in range(3):
                    assert ask(server, "x", f"full-{number}").status == 429
                until(lambda: server.metric("inhouse_deadlines_missed_total") == 1)
        assert server.metric("inhouse_refusals_total", model="fake:latest", reason="queue_full") == 3
        assert server.metric("inhouse_refusals_total", reason="deadline_exceeded") == 1
        told = why(server, "full-0").json
        assert told["error"]["code"] == "queue_full"
        assert told["findings"][0]["remedy"]
        records = server.ask("GET", "/api/events?kind=refusal", headers=local(server)).json["events"]
        assert records
        assert all(one["cause"] for one in records)


def test_the_guide_names_every_metric(server: Server) -> None:
    """A metric that nobody can look up might as well not be there; one that is gone must not be promised."""
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "observe.md").read_text("utf-8")
    told = {name.removesuffix("_bucket") for name in re.findall(r"inhouse_[a-z_]+", guide)}
    page_ = text_string_to_metric_families(server.ask("GET", "/metrics").body.decode())
    found = {f"{family.name}_total" if family.type == "counter" else family.name for family in page_}
    assert found - told == {"inhouse_build_info"}
    assert told - found == set()
