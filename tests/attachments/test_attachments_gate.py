"""Addresses that strangers choose: inside is refused in every disguise, and what was checked is asked."""

from __future__ import annotations

import socket

import pytest

from inhouse.attachments import Attachments
from inhouse.attachments.gate import Gate, Hosts
from inhouse.core.errors import BadRequest, Cancelled, Forbidden, SourceFailed
from inhouse.core.messages import Message, Remote
from inhouse.core.requests import Chat
from inhouse.net import gate as gates
from inhouse.net import line as lines
from inhouse.net import url as urls
from inhouse.net.line import Broken
from support.fileserver import Fault, FileServer

PUBLIC = "93.184.215.14"
PARAM = "messages[0].content[0].source.url"


@pytest.fixture
def names(monkeypatch):
    """A table of host names, each with its answers in turn; the last stays. Who asked stands in ``asked``."""
    table: dict[str, list[list[str]]] = {"asked": []}

    def look(host, port, **kinds):
        table["asked"].append(host)
        if host not in table:
            raise socket.gaierror(-2, "unknown")
        answers = table[host]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(0, 0, 0, "", (address, port)) for address in found]

    monkeypatch.setattr(gates.socket, "getaddrinfo", look)
    return table


@pytest.fixture
def dialled(monkeypatch):
    """Connections are only noted."""
    places: list[tuple[str, int]] = []

    def dial(host, port, tick):
        places.append((host, port))
        raise Broken("not here", sent=False)

    monkeypatch.setattr(lines, "_dial", dial)
    return places


def admit(hosts, url):
    return Gate(Hosts(hosts), lambda: None).admit(urls.parse(url))


def ask(url: str) -> Chat:
    return Chat(model="m", messages=(Message("user", (Remote(url, "image", PARAM),)),))


async def fetch(url: str, *hosts: str):
    keeper = Attachments(hosts=hosts, size=1000, timeout=20)
    try:
        return await keeper.bring(ask(url))
    finally:
        keeper.close()


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://0/",
        "https://127.0.0.1./",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:a9fe:a9fe]/",
        "https://[::169.254.169.254]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[fd00:ec2::254]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://[64:ff9b:1::a9fe:a9fe]/",
        "https://[2002:a9fe:a9fe::1]/",
        "https://[2001:0:4136:e378:8000:63bf:5601:5601]/",
        "https://[fe80::1]/",
        "https://[ff02::1]/",
        "https://10.0.0.1/",
        "https://192.168.1.1/",
        "https://172.31.0.1/",
        "https://100.100.100.200/",
        "https://168.63.129.16/",
        "https://192.0.0.192/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://１２７.0.0.1/",
        "https://①②⑦.0.0.1/",
        "https://127。0。0。1/",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://inner.example/",
        "https://mixed.example/",
    ],
)
def test_a_star_is_any_public_host_and_nothing_inside(url, names):
    names |= {"localhost": [["127.0.0.1", "::1"]], "inner.example": [["10.1.2.3"]]}
    names["mixed.example"] = [[PUBLIC, "127.0.0.1"]]
    with pytest.raises(Forbidden) as caught:
        admit(["*"], url)
    assert "not public" in caught.value.detail
    assert "INHOUSE" not in caught.value.message


def test_a_public_host_is_admitted_by_name_or_star(names):
    names["cdn.example"] = [[PUBLIC, "2606:4700::1111"]]
    for pattern in ("*", "cdn.example", "*.example", "CDN.example:443", " cdn.example "):
        hop = admit([pattern], "https://cdn.example./x")
        assert (hop.addresses, hop.proxy, hop.private) == ((PUBLIC, "2606:4700::1111"), None, False)


def test_a_host_that_was_not_named_is_not_even_looked_up(names):
    for url in ("https://other.example/", "http://cdn.example:81/", "https://cdn.example.evil/"):
        with pytest.raises(Forbidden):
            admit(["cdn.example:443", "*.cdn.example"], url)
    assert names["asked"] == []


def test_an_inner_address_needs_its_host_and_port(names):
    names["nas.corp"] = [["10.0.0.9"]]
    assert admit(["nas.corp:8443"], "https://nas.corp:8443/x").private
    assert admit(["[::1]:8080"], "http://[::1]:8080/x").private
    for hosts in (["nas.corp"], ["*.corp:8443"], ["*"], ["nas.corp:443"], ["nas.*:8443"]):
        with pytest.raises(Forbidden):
            admit(hosts, "https://nas.corp:8443/x")


def test_plain_http_is_for_hosts_named_without_a_star(names):
    names["cdn.example"] = [[PUBLIC]]
    assert admit(["cdn.example"], "http://cdn.example/x").addresses == (PUBLIC,)
    for hosts in (["*"], ["*.example"]):
        with pytest.raises(Forbidden):
            admit(hosts, "http://cdn.example/x")


def test_a_name_that_is_not_found_and_a_caller_that_left_end_the_look_up(names):
    with pytest.raises(SourceFailed):
        admit(["*"], "https://nobody.example/")

    def left() -> None:
        raise Cancelled("left")

    with pytest.raises(Cancelled):
        Gate(Hosts(["*"]), left).admit(urls.parse("https://nobody.example/"))


def test_no_patterns_allow_nothing():
    assert not Hosts(["", " "])
    assert not Hosts([]).allows(urls.parse("https://example.com/"))


async def test_a_name_that_changes_after_the_check_is_still_asked_where_it_was_checked(names, dialled):
    """DNS rebinding."""
    names["rebind.example"] = [[PUBLIC], ["127.0.0.1"]]
    with pytest.raises(BadRequest):
        await fetch("https://rebind.example/x", "*")
    assert dialled == [(PUBLIC, 443)]
    assert names["asked"] == ["rebind.example"]
    with pytest.raises(BadRequest):
        await fetch("https://rebind.example/x", "*")
    assert dialled == [(PUBLIC, 443)]


async def test_refused_inside_and_not_found_sound_the_same(names, dialled):
    """Else anybody could list the names of an inner network."""
    names["inner.example"] = [["10.1.2.3"]]
    told = []
    for url in ("https://inner.example/", "https://none.example/", "https://169.254.169.254/"):
        with pytest.raises(BadRequest) as caught:
            await fetch(url, "*")
        told.append((type(caught.value), caught.value.message, caught.value.hint, caught.value.param))
        assert caught.value.detail
    assert len(set(told)) == 1
    assert dialled == []


@pytest.mark.parametrize(
    "target",
    [
        "https://169.254.169.254/latest/meta-data/",
        "https://[fd00:ec2::254]/",
        "http://127.0.0.1:{canary}/",
        "//127.0.0.1:{canary}/",
        "https://user:pw@example.com/",
        "ftp://127.0.0.1/",
        "http:\\\\127.0.0.1:{canary}\\",
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_every_redirect_is_checked_like_the_first_address(target, status):
    with FileServer() as server, socket.create_server(("127.0.0.1", 0)) as canary:
        canary.setblocking(False)
        place = target.format(canary=canary.getsockname()[1])
        server.faults.append(Fault(status=status, redirect=place))
        with pytest.raises(BadRequest) as caught:
            await fetch(server.url("/x"), server.authority, "*")
        assert caught.value.param == PARAM
        assert "169" not in caught.value.message
        assert len(server.hits) == 1
        with pytest.raises(BlockingIOError):
            canary.accept()


async def test_redirects_have_an_end():
    with FileServer() as server:
        server.faults.append(Fault(redirect="/x"))
        with pytest.raises(BadRequest):
            await fetch(server.url("/x"), server.authority)
        assert len(server.hits) == 6


def test_no_way_leads_from_https_to_http(names):
    names["cdn.example"] = [[PUBLIC]]
    gate = Gate(Hosts(["cdn.example"]), lambda: None)
    first = gate.admit(urls.parse("https://cdn.example/"))
    with pytest.raises(Forbidden):
        gate.admit(urls.parse("http://cdn.example/"), first)
    assert gate.admit(urls.parse("https://cdn.example/"), gate.admit(urls.parse("http://cdn.example/")))
