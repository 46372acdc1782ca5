"""Asking and uploading, against a server that misbehaves."""

from __future__ import annotations

import gzip
import io
import socket
import threading
import zlib

import pytest

from inhouse.core.errors import BadRequest, Cancelled, Forbidden, SourceFailed
from inhouse.net import Client
from inhouse.store.sources.base import Policy, Throttle, Watch
from support.fileserver import CERTIFICATE, Fault, FileServer
from support.loopback import Loopback, relay
from support.running import until


@pytest.fixture
def server():
    with FileServer({"/x": b"hello"}) as server:
        yield server


@pytest.fixture
def client():
    with make() as client:
        yield client


def make(stall: float = 5.0, **kinds) -> Client:
    own = kinds.pop("own_hosts", ())
    kinds.setdefault("trusted", True)
    return Client(Watch(lambda event: None, Policy(stall=stall), **kinds), own_hosts=own, pause=0.001)


def test_an_answer_has_status_headers_body_and_address(server, client):
    reply = client.ask("GET", server.url("/x"))
    assert (reply.status, reply.body, reply.url) == (200, b"hello", server.url("/x"))
    assert reply.headers["content-length"] == "5"
    assert client.ask("GET", server.url("/none")).status == 404
    assert client.ask("HEAD", server.url("/x")).body == b""
    assert server.hits[0].headers["accept-encoding"] == "identity"


def test_a_connection_is_used_again_and_replaced_when_the_server_closed_it(server, client):
    ports = set()
    server.faults.append(Fault(when=lambda hit: ports.add(hit.headers["x-n"]) is None and False))
    for n in range(3):
        client.ask("GET", server.url("/x"), headers={"X-N": str(n)})
    server.faults[:] = [Fault(headers={"Connection": "close"})]
    assert client.ask("GET", server.url("/x")).body == b"hello"
    assert client.ask("GET", server.url("/x")).body == b"hello"
    assert len(server.hits) == 5


def test_what_must_not_be_sent_twice_never_meets_a_connection_that_was_closed_meanwhile(server, client):
    # the server closes without saying so before
    server.faults.append(Fault(times=1, truncate=5))
    assert client.ask("GET", server.url("/x")).body == b"hello"
    assert client.ask("POST", server.url("/x"), body=b"x").status == 200
    assert [hit.method for hit in server.hits] == ["GET", "POST"]


def test_a_body_is_sent_with_its_length(server, client):
    assert client.ask("POST", server.url("/x"), body=b"some text").status == 200
    assert server.hits[0].received == b"some text"


def test_a_header_with_a_line_break_is_refused(server, client):
    with pytest.raises(BadRequest, match="line break"):
        client.ask("GET", server.url("/x"), headers={"Authorization": "Bearer x\r\nHost: y"})
    assert not server.hits


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_failures_are_tried_again(server, client, status):
    server.faults.append(Fault(times=2, status=status))
    assert client.ask("GET", server.url("/x")).body == b"hello"
    assert [hit.status for hit in server.hits] == [status, status, 200]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 501])
def test_lasting_failures_are_returned_at_once(server, client, status):
    server.faults.append(Fault(status=status, body=b"why"))
    assert client.ask("GET", server.url("/x")).status == status
    assert len(server.hits) == 1


def test_a_post_is_not_repeated_where_it_may_have_been_heard(server, client):
    server.faults.append(Fault(status=500))
    assert client.ask("POST", server.url("/x"), body=b"x").status == 500
    server.faults[:] = [Fault(silent=True)]
    with make(stall=0.3) as hasty, pytest.raises(SourceFailed):
        hasty.ask("POST", server.url("/x"), body=b"x")
    until(lambda: len(server.hits) == 2, what="what a busy machine read late")


def test_patience_ends_with_the_source_named_as_the_cause(server, client):
    server.faults.append(Fault(status=503))
    with pytest.raises(SourceFailed, match="HTTP 503"):
        client.ask("GET", server.url("/x"))
    assert len(server.hits) == 5


def test_retry_after_is_waited_for_unless_it_is_long(server, client, monkeypatch):
    waits = []
    monkeypatch.setattr(client.watch.stopped, "wait", waits.append)
    server.faults.append(Fault(times=1, status=429, headers={"Retry-After": "7"}))
    assert client.ask("GET", server.url("/x")).status == 200
    assert waits == [7.0]
    server.faults.append(Fault(status=429, headers={"Retry-After": "31"}))
    with pytest.raises(SourceFailed, match="31 s") as caught:
        client.ask("GET", server.url("/x"))
    assert caught.value.retry_after == 31
    assert len(server.hits) == 3


def test_a_reset_and_a_refused_connection_are_tried_again(server, client):
    server.faults.append(Fault(times=2, reset=0))
    assert client.ask("GET", server.url("/x")).body == b"hello"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(SourceFailed, match="cannot be reached"):
            client.ask("GET", f"http://127.0.0.1:{taken.getsockname()[1]}/")


def test_a_silent_server_is_given_up(server):
    server.faults.append(Fault(silent=True))
    with make(stall=0.2) as client, pytest.raises(SourceFailed, match="cannot be reached"):
        client.ask("GET", server.url("/x"))
    until(lambda: len(server.hits) == 5, what="what a busy machine read late")


def test_a_stop_ends_a_wait_within_a_second(server):
    server.faults.append(Fault(silent=True))
    with make() as client:
        threading.Timer(0.1, client.watch.stopped.set).start()
        with pytest.raises(Cancelled):
            client.ask("GET", server.url("/x"))


# -- hostile bodies


@pytest.mark.parametrize("size", [10 * 2**20, 200 * 2**20])
def test_a_gzip_bomb_is_refused_at_the_byte_limit(server, client, size):
    """CVE-2024-12886: a compressed manifest that becomes gigabytes."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=9) as file:
        for _ in range(size // 2**20):
            file.write(bytes(2**20))
    server.faults.append(Fault(status=200, body=packed.getvalue(), headers={"Content-Encoding": "gzip"}))
    with pytest.raises(SourceFailed, match="larger than"):
        client.ask("GET", server.url("/x"))


def test_an_endless_answer_is_refused_at_the_byte_limit(server, client):
    server.faults.append(Fault(endless=True))
    with pytest.raises(SourceFailed, match="larger than 1000 bytes"):
        client.ask("GET", server.url("/x"), limit=1000)


def test_gzip_that_nobody_asked_for_is_decoded(server, client):
    body = gzip.compress(b"manifest")
    server.faults.append(Fault(times=1, status=200, body=body, headers={"Content-Encoding": "gzip"}))
    assert client.ask("GET", server.url("/x")).body == b"manifest"
    server.faults.append(Fault(status=200, body=zlib.compress(b"x"), headers={"Content-Encoding": "deflate"}))
    with pytest.raises(SourceFailed, match="coding"):
        client.ask("GET", server.url("/x"))
    server.faults[:] = [Fault(status=200, body=b"no gzip", headers={"Content-Encoding": "gzip"})]
    with pytest.raises(SourceFailed):
        client.ask("GET", server.url("/x"))


def test_a_short_answer_is_not_taken_for_the_whole(server, client):
    server.faults.append(Fault(times=2, truncate=2))
    assert client.ask("GET", server.url("/x")).body == b"hello"


def test_what_is_no_http_is_a_failure_of_the_source(client):
    def babble(peer: socket.socket) -> None:
        peer.recv(1000)
        peer.sendall(b"\x00\x01 not http\r\n\r\n")

    with Loopback(babble) as babbler, pytest.raises(SourceFailed, match="cannot be reached"):
        client.ask("GET", f"http://{babbler.authority}/")


# -- redirects and credentials


def test_redirects_are_followed_up_to_five(server, client):
    server.faults += [Fault(path=f"/{n}", redirect=f"/{n + 1}") for n in range(5)]
    server.files["/5"] = b"there"
    assert client.ask("GET", server.url("/0")).body == b"there"
    server.faults.append(Fault(path="/loop", redirect="/loop"))
    with pytest.raises(SourceFailed, match="circles"):
        client.ask("GET", server.url("/loop"))
    assert len(server.hits) == 12


@pytest.mark.parametrize("where", ["redirect", "there and back"])
def test_no_credential_leaves_for_another_origin(server, client, where):
    """CVE-2025-51471, and LocalAI's key headers on cross-host redirects."""
    secrets = {
        "Authorization": "Bearer s3cret",
        "Cookie": "m_session_id=s3cret",
        "X-Api-Key": "s3cret",
        "X-Amz-Security-Token": "s3cret",
        "Private-Token": "s3cret",
    }
    with FileServer({"/y": b"other"}) as other:
        server.faults.append(Fault(path="/x", redirect=other.url("/y")))
        if where == "there and back":
            other.faults.append(Fault(path="/y", redirect=server.url("/z")))
            server.files["/z"] = b"back"
        reply = client.ask("GET", server.url("/x"), headers={**secrets, "Accept": "text/plain"})
        assert reply.status == 200
        assert server.hits[0].headers["authorization"] == "Bearer s3cret"
        for hit in other.hits + server.hits[1:]:
            assert "s3cret" not in str(hit.headers)
            assert hit.headers["accept"] == "text/plain"


def test_a_credential_stays_within_its_origin(server, client):
    server.token = "s3cret"
    server.files["/y"] = b"mine"
    server.faults.append(Fault(path="/x", status=200, when=lambda hit: False))
    assert client.ask("GET", server.url("/y"), headers={"Authorization": "Bearer s3cret"}).status == 200
    assert client.ask("GET", server.url("/y")).status == 401


def test_a_body_goes_along_with_307_only(server, client):
    server.files["/y"] = b"y"
    server.faults.append(Fault(path="/x", times=1, status=307, redirect="/y"))
    client.ask("PUT", server.url("/x"), body=b"body")
    assert (server.hits[-1].method, server.hits[-1].received) == ("PUT", b"body")
    server.faults.append(Fault(path="/x", status=303, redirect="/y"))
    client.ask("POST", server.url("/x"), body=b"body", headers={"Content-Type": "text/plain"})
    assert (server.hits[-1].method, server.hits[-1].received) == ("GET", b"")
    assert "content-type" not in server.hits[-1].headers


@pytest.mark.parametrize("target", ["http://169.254.169.254/", "https://127.0.0.1:1/", "http://[::1]:1/"])
def test_a_redirect_to_an_address_inside_is_refused(server, target):
    server.faults.append(Fault(redirect=target))
    with make(trusted=False, own_hosts=[server.authority]) as client, pytest.raises(Forbidden) as caught:
        client.ask("GET", server.url("/x"))
    assert "INHOUSE_PULL_HOSTS" in caught.value.hint


@pytest.mark.parametrize("location", ["ftp://x/", "file:///etc/passwd", "https://a@b/", "\\\\host\\x"])
def test_a_redirect_that_is_no_url_of_the_web_is_refused(server, client, location):
    server.faults.append(Fault(redirect=location))
    with pytest.raises(BadRequest):
        client.ask("GET", server.url("/x"))


def test_loopback_is_closed_to_clients_of_the_api_unless_it_is_named(server):
    with make(trusted=False, insecure=True) as client, pytest.raises(Forbidden):
        client.ask("GET", server.url("/x"))
    assert not server.hits
    with Client(Watch(lambda event: None, Policy(hosts=(server.authority,)))) as client:
        assert client.ask("GET", server.url("/x")).status == 200


def test_the_connection_goes_to_the_address_that_was_checked(server, client, monkeypatch):
    """DNS rebinding: a second answer of the resolver is never asked for."""
    answers = ["127.0.0.1"]
    real = socket.getaddrinfo

    def look(host, port, *args, **kinds):
        return real(answers.pop() if host == "rebind.example" else host, port, *args, **kinds)

    monkeypatch.setattr(socket, "getaddrinfo", look)
    assert client.ask("GET", server.url("/x", host="rebind.example")).body == b"hello"
    assert not answers
    assert server.hits[0].headers["host"] == f"rebind.example:{server.port}"


# -- TLS and proxies


@pytest.fixture
def secure(monkeypatch):
    with FileServer({"/x": b"hello"}, tls=True) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        yield server


def test_tls_trusts_the_authorities_of_ssl_cert_file(secure, client):
    assert client.ask("GET", secure.url("/x", host="localhost")).body == b"hello"


def test_a_certificate_for_another_name_is_refused_without_another_try(secure, client):
    with pytest.raises(SourceFailed, match="certificate") as caught:
        client.ask("GET", secure.url("/x"))
    assert "SSL_CERT_FILE" in caught.value.hint
    assert not secure.hits


def test_an_unknown_authority_is_refused(secure, client, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(SourceFailed, match="certificate"):
        client.ask("GET", secure.url("/x", host="localhost"))


def test_tls_to_a_plain_server_fails(server, client):
    with pytest.raises(SourceFailed, match="cannot be reached"):
        client.ask("GET", server.url("/x").replace("http:", "https:"))


@pytest.fixture
def proxy(monkeypatch):
    """An HTTP proxy: CONNECT and absolute URLs, every host being loopback."""
    seen: list[str] = []

    def serve(peer: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (data := peer.recv(4096)):
                return
            head += data
        seen.append(head.decode())
        method, target, _ = head.decode().split(" ", 2)
        if "denied" in target:
            peer.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        place = target if method == "CONNECT" else target.split("/")[2]
        with socket.create_connection(("127.0.0.1", int(place.rpartition(":")[2]))) as up:
            if method == "CONNECT":
                peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                up.sendall(head)
            relay(peer, up)

    with Loopback(serve) as running:
        address = f"http://user:p%40ss@{running.authority}"
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, address)
        for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield seen


def test_https_goes_through_a_tunnel_of_the_proxy(secure, proxy, monkeypatch):
    from inhouse.net import gate

    monkeypatch.setattr(gate, "proxy_for", _real_proxy(gate))
    with make() as client:
        assert client.ask("GET", secure.url("/x", host="localhost")).body == b"hello"
    assert proxy[0].startswith(f"CONNECT localhost:{secure.port} HTTP/1.1")
    assert "Proxy-Authorization: Basic dXNlcjpwQHNz" in proxy[0]


def test_http_goes_to_the_proxy_with_its_whole_address(server, proxy):
    with make(insecure=True) as client:
        assert client.ask("GET", server.url("/x", host="hub.example")).body == b"hello"
    assert proxy[0].startswith(f"GET http://hub.example:{server.port}/x HTTP/1.1")
    assert "Basic dXNlcjpwQHNz" in proxy[0]


def test_a_proxy_that_refuses_is_named_as_the_cause(proxy):
    with make() as client, pytest.raises(SourceFailed, match="proxy refused"):
        client.ask("GET", "https://denied.example/")


def _real_proxy(gate):
    """``proxy_for`` as if localhost were not exempt."""
    import urllib.request

    def find(url):
        text = urllib.request.getproxies()[url.scheme].partition("://")[2]
        secret, _, place = text.rpartition("@")
        return gate.Proxy(gate.urls.parse(f"http://{place}"), secret)

    return find


# -- uploads


def test_a_slice_of_a_file_is_sent_and_reported(server, client, tmp_path):
    path = tmp_path / "blob"
    data = bytes(range(256)) * 4096
    path.write_bytes(data)
    said = []
    server.faults.append(Fault(status=201))
    reply = client.upload("PUT", server.url("/up"), path, span=(100, 600_000), say=said.append)
    assert reply.status == 201
    assert server.hits[0].received == data[100:600_100]
    assert said == sorted(said)
    assert said[-1] == 600_000
    client.upload("PATCH", server.url("/up"), path, span=(len(data) - 5, 100))
    assert server.hits[1].received == data[-5:]


def test_an_upload_is_tried_again_from_its_start(server, client, tmp_path):
    path = tmp_path / "blob"
    path.write_bytes(b"x" * 1000)
    server.faults += [Fault(times=1, status=503), Fault(status=200)]
    assert client.upload("PUT", server.url("/up"), path).status == 200
    assert [hit.received for hit in server.hits] == [b"x" * 1000] * 2


def test_a_refusal_in_mid_upload_is_heard(client, tmp_path):
    """A server that answers and closes before all has been sent."""
    path = tmp_path / "blob"
    path.write_bytes(bytes(50 * 2**20))

    def refuse(peer: socket.socket) -> None:
        peer.recv(65536)
        peer.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(2**20):
            pass

    with Loopback(refuse) as hasty:
        reply = client.upload("PUT", f"http://{hasty.authority}/", path)
    assert reply.status == 413


def test_an_upload_keeps_to_the_bandwidth_limit_and_hears_a_stop(server, tmp_path, monkeypatch):
    path = tmp_path / "blob"
    path.write_bytes(bytes(1_000_000))
    taken = []
    monkeypatch.setattr(Throttle, "take", lambda self, count, stopped: taken.append(count))
    watch = Watch(lambda event: None, trusted=True)
    server.faults.append(Fault(status=200))
    with Client(watch) as client:
        client.upload("PUT", server.url("/up"), path)
        assert sum(taken) == 1_000_000
        with pytest.raises(Cancelled):
            client.upload("PUT", server.url("/up"), path, say=lambda done: watch.stopped.set())
