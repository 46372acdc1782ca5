"""The servers of other tests leave nothing behind, whatever state their connections are in."""

from __future__ import annotations

import socket
import ssl
import threading

import pytest

from support import loopback
from support.fileserver import CERTIFICATE, Fault, FileServer
from support.loopback import Loopback
from support.running import until


def call(server: Loopback) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), 10)


def test_a_client_that_says_nothing_does_not_keep_its_handler():
    before, begun, heard = set(threading.enumerate()), threading.Event(), []

    def listen(peer: socket.socket) -> None:
        begun.set()
        heard.append(peer.recv(1))

    with Loopback(listen) as server:
        client = call(server)
        assert begun.wait(10)
    with client:
        assert heard == [b""]
        assert client.recv(1) == b""
    assert set(threading.enumerate()) == before


def test_a_handler_that_fails_closes_its_connection():
    peers: list[socket.socket] = []

    def fail(peer: socket.socket) -> None:
        peers.append(peer)
        raise ValueError

    with Loopback(fail) as server, call(server) as client:
        assert client.recv(1) == b""
    assert peers[0].fileno() == -1


def test_a_handler_that_hangs_fails_its_own_test(monkeypatch):
    monkeypatch.setattr(loopback, "LEAVING", 0.05)
    begun, free = threading.Event(), threading.Event()

    def hang(peer: socket.socket) -> None:
        begun.set()
        free.wait(10)

    with pytest.raises(AssertionError, match="do not end"), Loopback(hang) as server, call(server):
        assert begun.wait(10)
    free.set()


def test_no_port_is_left_listening():
    with Loopback(lambda peer: None) as server:
        port = server.port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 10)


@pytest.mark.parametrize("tls", [False, True])
def test_connections_that_are_kept_end_with_their_server(tls):
    before = set(threading.enumerate())
    with FileServer({"/x": b"hello"}, tls=tls, host="localhost" if tls else "127.0.0.1") as server:
        server.faults.append(Fault(path="/silent", silent=True))
        context = ssl.create_default_context(cafile=str(CERTIFICATE))
        socks = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(3)]
        if tls:  # the third never begins its handshake
            socks[:2] = [context.wrap_socket(sock, server_hostname="localhost") for sock in socks[:2]]
        socks[0].sendall(b"GET /x HTTP/1.1\r\n\r\n")
        assert b"200" in socks[0].recv(1000)
        socks[1].sendall(b"GET /silent HTTP/1.1\r\n\r\n")
        until(lambda: len(server.hits) == 2, what="the requests")
    assert set(threading.enumerate()) == before
    for sock in socks:
        sock.close()
