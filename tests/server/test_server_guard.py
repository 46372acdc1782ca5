"""The guard: Host, Origin, key, body type, request id; rows 10, 16 and 64 of the fault table."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from inhouse.config import Server
from inhouse.server import answers
from inhouse.server.guard import Guard, local_name

Headers = dict[str, str]


async def call(
    headers: Headers | list[tuple[str, str]] | None = None,
    *,
    method: str = "GET",
    path: str = "/api/tags",
    settings: Server | None = None,
    loopback: bool = True,
    app: Any = None,
) -> tuple[int, Headers, bytes]:
    async def reached(scope: Any, receive: Any, send: Any) -> None:
        caller = scope["inhouse"].caller
        await answers.json(scope, send, {"tenant": caller.tenant, "deadline": caller.deadline})

    given = headers.items() if isinstance(headers, dict) else (headers or [])
    pairs = [(k.encode(), v.encode()) for k, v in given]
    if headers is None or (not any(k == b"host" for k, _ in pairs) and isinstance(headers, dict)):
        pairs.append((b"host", b"localhost:1"))
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "headers": pairs,
        "http_version": "1.1", "client": ("127.0.0.1", 5), "query_string": b"",
    }  # fmt: skip
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    counted: list[int] = []
    guard = Guard(app or reached, settings or Server(), loopback=loopback, touch=counted.append)
    await guard(scope, receive, send)
    assert sum(counted) == 0
    got = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
    return sent[0]["status"], got, b"".join(m.get("body", b"") for m in sent[1:])


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:11435",
        "127.0.0.1",
        "[::1]:5",
        "x.localhost",
        "box.local",
        "192.168.1.5:80",
        "10.0.0.1",
    ],
)
async def test_names_of_this_machine_pass(host: str) -> None:
    assert (await call({"host": host}))[0] == 200


@pytest.mark.parametrize(("host", "status"), [
    ("evil.example", 403), ("evil.example:80", 403), ("", 400), ("x/health?", 400), ("x#", 400), ("a@b", 400),
    ("8.8.8.8", 403), ("[::1", 400),
])  # fmt: skip
async def test_other_names_are_refused_on_loopback(host: str, status: int) -> None:
    assert (await call({"host": host}))[0] == status


async def test_host_missing_or_twice_is_malformed() -> None:
    assert (await call([("accept", "*/*")]))[0] == 400
    assert (await call([("host", "localhost"), ("host", "localhost")]))[0] == 400


async def test_any_host_passes_beyond_loopback_and_an_allowed_one_on_it() -> None:
    assert (await call({"host": "models.example"}, loopback=False))[0] == 200
    assert (await call({"host": "models.example"}, settings=Server(allowed_hosts=("models.example",))))[
        0
    ] == 200


@pytest.mark.parametrize(
    "origin",
    ["http://localhost:3000", "https://127.0.0.1", "app://x", "vscode-webview://y", "http://[::1]:9"],
)
async def test_local_origins_may_call_and_get_the_cors_header(origin: str) -> None:
    status, headers, _ = await call({"origin": origin})
    assert status == 200
    assert headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_a_foreign_origin_is_refused_without_a_cors_header(method: str) -> None:
    status, headers, _ = await call(
        {"origin": "https://evil.example", "content-type": "application/json"}, method=method
    )
    assert status == 403
    assert "access-control-allow-origin" not in headers


async def test_an_origin_can_be_allowed_and_preflighted() -> None:
    settings = Server(origins=("https://app.example",))
    status, headers, _ = await call({"origin": "https://app.example"}, method="OPTIONS", settings=settings)
    assert status == 204
    assert "authorization" in headers["access-control-allow-headers"]


async def test_stars_in_an_allowed_origin_stand_for_anything() -> None:
    settings = Server(origins=("chrome-extension://*",))
    for origin, status in (("chrome-extension://abc", 200), ("moz-extension://abc", 403)):
        assert (await call({"origin": origin}, settings=settings))[0] == status


async def test_a_question_for_options_without_an_origin_needs_no_key() -> None:
    status, headers, _ = await call({}, method="OPTIONS", settings=KEYED)
    assert status == 204
    assert "POST" in headers["access-control-allow-methods"]


async def test_the_machines_own_name_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "BigBox")
    assert (await call({"host": "bigbox:11435"}))[0] == 200
    assert (await call({"host": "otherbox"}))[0] == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "application/json; charset=utf-8"}, 200),
        ({"content-type": "application/x-www-form-urlencoded"}, 200),
        ({}, 200),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "multipart/form-data; boundary=x"}, 415),
        ({"content-type": "application/x-www-form-urlencoded", "origin": "http://localhost"}, 415),
        ({"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "cross-site"}, 415),
    ],
)
async def test_a_page_can_send_json_only_while_plain_curl_works(headers: Headers, status: int) -> None:
    assert (await call(headers, method="POST"))[0] == status


KEYED = Server(api_key="s3cret")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"authorization": "Basic s3cret"}, 401),
        ({"authorization": "Bearer " + "x" * 100_000}, 401),
        ({"authorization": "Bearer s3cret"}, 200),
        ({"authorization": "bearer s3cret"}, 200),
        ({"x-api-key": "s3cret"}, 200),
        ({"x-api-key": "wrong"}, 401),
        ({"authorization": "Bearer wrong", "x-api-key": "s3cret"}, 401),
    ],
)
async def test_the_key_is_asked_for_everywhere(headers: Headers, status: int) -> None:
    got, back, body = await call(headers, settings=KEYED)
    assert got == status
    if status == 401:
        assert back["www-authenticate"].startswith("Bearer")
        assert b"s3cret" not in body


@pytest.mark.parametrize(("key", "status"), [("k1", 200), ("k2", 200), ("k1,k2", 401), ("k", 401), ("", 401)])
async def test_any_of_several_keys_lets_in(key: str, status: int) -> None:
    settings = Server(api_key="k1, k2")
    assert (await call({"authorization": f"Bearer {key}"}, settings=settings))[0] == status


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30), ("500ms", 0.5), ("2m", 120), (" 1.5s ", 1.5), ("1h30m", 5400)]
)
async def test_a_request_may_say_how_long_it_is_of_use(text: str, seconds: float) -> None:
    before = time.monotonic()
    _, _, body = await call({"x-request-timeout": text})
    assert seconds <= json.loads(body)["deadline"] - before < seconds + 1
    assert json.loads((await call({}))[2])["deadline"] is None


@pytest.mark.parametrize("text", ["0", "-5", "soon", "", "1 minute", "nan", "inf", "0ms"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/chat"])
async def test_a_time_that_makes_no_sense_is_refused_by_name(text: str, path: str) -> None:
    status, _, body = await call({"x-request-timeout": text}, path=path)
    assert status == 400
    error = json.loads(body)["error"]
    assert "x-request-timeout" in (error if isinstance(error, str) else error["message"])


async def test_liveness_needs_no_key() -> None:
    assert (await call({}, path="/health", settings=KEYED))[0] == 200


async def test_the_request_id_is_kept_when_it_is_sane_and_made_otherwise() -> None:
    assert (await call({"x-request-id": "abc-1"}))[1]["x-request-id"] == "abc-1"
    made = (await call({"x-request-id": "bad id\n"}))[1]["x-request-id"]
    assert made.startswith("req_")


async def test_an_unexpected_failure_is_a_500_that_says_nothing() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("/secret/path")

    status, _, body = await call({}, app=broken, path="/v1/x")
    assert status == 500
    assert b"secret" not in body
    assert json.loads(body)["error"]["type"] == "server_error"


async def test_callers_with_different_keys_are_different_tenants() -> None:
    tenants = {
        (await call(headers))[2]
        for headers in ({"authorization": "Bearer a"}, {"authorization": "Bearer b"}, {})
    }
    assert len(tenants) == 3


@pytest.mark.parametrize(("name", "local"), [("localhost.", True), ("example.com", False), ("::1", True)])
def test_local_names(name: str, local: bool) -> None:
    assert local_name(name) is local


async def test_one_key_is_one_tenant_however_it_is_sent() -> None:
    ways = ({"authorization": "Bearer a"}, {"authorization": "bearer  a"}, {"x-api-key": "a"})
    assert len({(await call(headers))[2] for headers in ways}) == 1


async def test_a_key_is_no_other_tenant_for_what_else_is_sent_beside_it() -> None:
    ways = ({"x-api-key": "a"}, *({"x-api-key": "a", "authorization": f"Basic {n}"} for n in range(3)))
    assert len({(await call(headers))[2] for headers in ways}) == 1
