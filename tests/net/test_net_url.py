"""One reading of a URL, and which addresses may be asked."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.core.errors import BadRequest, Cancelled, Forbidden, SourceFailed, Unsupported
from inhouse.net import gate as gates
from inhouse.net import url as urls
from inhouse.net.gate import Gate, is_public, matches
from inhouse.store.sources.base import Policy, Watch

PUBLIC = "93.184.215.14"


def watch(*hosts: str, **kinds: bool) -> Watch:
    return Watch(lambda event: None, Policy(hosts=hosts), **kinds)


@pytest.fixture
def names(monkeypatch):
    """A table of host names; asking for any other fails. No proxies."""
    table: dict[str, list[str]] = {}
    asked: list[str] = []

    def look(host, port, **kinds):
        asked.append(host)
        if host not in table:
            raise socket.gaierror(-2, "unknown")
        return [(0, 0, 0, "", (address, port)) for address in table[host]]

    monkeypatch.setattr(gates.socket, "getaddrinfo", look)
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    table["asked"] = asked
    return table


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("https://Example.COM/a/b.gguf", "https://example.com/a/b.gguf"),
        ("https://example.com.:443", "https://example.com/"),
        ("http://example.com:8080/x?a=b#frag", "http://example.com:8080/x?a=b"),
        ("https://bücher.example/ü", "https://xn--bcher-kva.example/%C3%BC"),
        ("http://2130706433/", "http://127.0.0.1/"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("http://0177.0.0.1/", "http://127.0.0.1/"),
        ("http://0/", "http://0.0.0.0/"),
        ("http://[0:0::1]:80/", "http://[::1]/"),
        ("http://[::FFFF:127.0.0.1]/", "http://[::ffff:7f00:1]/"),
    ],
)
def test_a_url_is_read_once_and_printed_canonically(text, whole):
    assert str(urls.parse(text)) == whole
    assert urls.parse(str(urls.parse(text))) == urls.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "ftp://example.com/x",
        "file:///etc/passwd",
        "//example.com/x",
        "https://user:pw@example.com/",
        "https://example.com@127.0.0.1/",
        "https://example.com\\@127.0.0.1/",
        "https://exa mple.com/",
        "https://example.com/\r\nHost: x",
        "https://example.com/\u2028",
        "https:///x",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com:http/",
        "https://[::1%25eth0]/",
        "https://[::1/",
        "https://1.2.3.4.5/",
        "https://a..b/",
        "https://" + "a" * 9000,
        "https://\u2100.example/",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(text):
    with pytest.raises(BadRequest) as caught:
        urls.parse(text)
    assert "pw" not in caught.value.message


@given(st.text(max_size=60))
def test_any_text_is_a_url_or_a_bad_request(text):
    for whole in (text, f"https://{text}", f"https://example.com/{text}"):
        try:
            found = urls.parse(whole)
        except BadRequest:
            continue
        assert urls.parse(str(found)) == found
        assert found.host
        assert not set(found.target) & set(" \r\n\t\\")


def test_a_redirect_is_read_like_any_url():
    url = urls.parse("https://example.com/a/b?x=1")
    assert str(url.join("../c")) == "https://example.com/c"
    assert str(url.join("//other.example/c")) == "https://other.example/c"
    for location in ("https://a\\b/", "http://[", "//[::1"):
        with pytest.raises(BadRequest):
            url.join(location)


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "127.9.9.9",
        "10.0.0.1",
        "172.16.3.4",
        "192.168.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "fec0::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "::169.254.169.254",
        "::ffff:0:127.0.0.1",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "5f00::1",
        "3fff::1",
    ],
)
def test_addresses_inside_are_not_public(text):
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", [PUBLIC, "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_of_the_internet_are_public(text):
    assert is_public(ipaddress.ip_address(text))


def test_hosts_are_named_with_or_without_port_and_with_stars():
    url = urls.parse("https://a.example.com:8443/x")
    for pattern in ("a.example.com", "A.example.com:8443", "*.example.com", "*:8443", " a.example.com "):
        assert matches(url, [pattern])
    for pattern in ("example.com", "a.example.com:443", "a?example.com", "[a].example.com", ""):
        assert not matches(url, [pattern])
    assert matches(urls.parse("http://[::1]:80/"), ["::1"])
    assert matches(urls.parse("http://[::1]:81/"), ["[::1]:81"])


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/",
        "http://127.0.0.1:11434/api",
        "https://localhost/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::]/",
        "https://2130706433/",
        "https://017700000001/",
        "https://intranet.example/",
        "https://mixed.example/",
    ],
)
def test_a_host_inside_is_refused_in_the_same_words_whatever_is_behind_it(names, url):
    """CVE-2026-5530: the host of a pull chosen by a client."""
    names |= {"localhost": ["127.0.0.1", "::1"], "intranet.example": ["10.1.2.3"]}
    names["mixed.example"] = [PUBLIC, "10.1.2.3"]
    with pytest.raises(Forbidden) as caught:
        Gate(watch(insecure=True)).admit(urls.parse(url))
    assert caught.value.message == "The address of this source is not allowed."
    assert "INHOUSE_PULL_HOSTS" in caught.value.hint


def test_a_public_host_is_admitted_and_its_address_is_kept(names):
    names["hub.example"] = [PUBLIC]
    hop = Gate(watch()).admit(urls.parse("https://hub.example/x"))
    assert hop.addresses == (PUBLIC,)
    assert not hop.private
    assert names["asked"] == ["hub.example"]


@pytest.mark.parametrize("how", [{"trusted": True}, {"hosts": ("*.corp:8443",)}, {"own": ("nas.corp:8443",)}])
def test_an_inner_host_is_admitted_for_the_user_himself_and_where_it_is_named(names, how):
    names["nas.corp"] = ["10.0.0.9"]
    gate = Gate(watch(*how.get("hosts", ()), trusted=how.get("trusted", False)), how.get("own", ()))
    assert gate.admit(urls.parse("https://nas.corp:8443/x")).private


def test_a_redirect_from_outside_does_not_carry_the_users_trust_inside(names):
    names |= {"hub.example": [PUBLIC], "nas.corp": ["10.0.0.9"], "other.corp": ["10.0.0.8"]}
    gate = Gate(watch(trusted=True))
    outside = gate.admit(urls.parse("https://hub.example/"))
    with pytest.raises(Forbidden):
        gate.admit(urls.parse("https://nas.corp/"), outside)
    inside = gate.admit(urls.parse("https://nas.corp/"))
    assert gate.admit(urls.parse("https://other.corp/"), inside).private


def test_plain_http_is_for_loopback_the_operators_hosts_and_the_careless(names):
    names |= {"hub.example": [PUBLIC], "localhost": ["127.0.0.1"], "nas.corp": ["10.0.0.9"]}
    plain = urls.parse("http://hub.example/")
    with pytest.raises(Forbidden, match="Plain HTTP") as caught:
        Gate(watch(trusted=True)).admit(plain)
    assert "--insecure" in caught.value.hint
    with pytest.raises(Forbidden, match="Plain HTTP"):
        Gate(watch("nas.corp")).admit(urls.parse("http://nas.corp/"))
    assert Gate(watch(insecure=True)).admit(plain)
    assert Gate(watch(), ["hub.example"]).admit(plain)
    assert Gate(watch(trusted=True)).admit(urls.parse("http://localhost:1/"))
    assert Gate(watch("127.0.0.1")).admit(urls.parse("http://127.0.0.1:1/"))


def test_https_never_becomes_http(names):
    names["hub.example"] = [PUBLIC]
    gate = Gate(watch(trusted=True, insecure=True), ["hub.example"])
    first = gate.admit(urls.parse("https://hub.example/"))
    with pytest.raises(Forbidden, match="redirects from HTTPS"):
        gate.admit(urls.parse("http://hub.example/"), first)


def test_an_unknown_host_and_a_stop_end_the_question(names, monkeypatch):
    with pytest.raises(SourceFailed, match="not found"):
        Gate(watch()).admit(urls.parse("https://nowhere.example/"))
    stopped = watch()
    stopped.stopped.set()
    with pytest.raises(Cancelled):
        Gate(stopped).admit(urls.parse("https://nowhere.example/"))


def test_a_resolver_that_never_answers_is_given_up(monkeypatch):
    silence = gates.threading.Event()
    monkeypatch.setattr(gates.socket, "getaddrinfo", lambda *a, **k: silence.wait(5) and [])
    monkeypatch.setattr(gates, "RESOLVE_TIMEOUT", 0.05)
    with pytest.raises(SourceFailed, match="not found"):
        Gate(watch()).admit(urls.parse("https://slow.example/"))
    silence.set()


def test_behind_a_proxy_only_literal_addresses_are_checked(names, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://user:pw@proxy.corp:3128")
    hop = Gate(watch()).admit(urls.parse("https://hub.example/"))
    assert hop.proxy
    assert str(hop.proxy.url) == "http://proxy.corp:3128/"
    assert hop.proxy.secret == "user:pw"
    assert hop.addresses == ()
    assert not names["asked"]
    with pytest.raises(Forbidden):
        Gate(watch()).admit(urls.parse("https://10.0.0.1/"))
    names["direct.example"] = [PUBLIC]
    monkeypatch.setenv("no_proxy", "direct.example")
    assert Gate(watch()).admit(urls.parse("https://direct.example/")).proxy is None
    assert Gate(watch(trusted=True)).admit(urls.parse("http://127.0.0.1/")).proxy is None


@pytest.mark.parametrize(
    ("proxy", "error"),
    [("socks5://p:1", Unsupported), ("https://p:1", Unsupported), ("http://", SourceFailed)],
)
def test_a_proxy_that_cannot_be_used_is_named_as_the_cause(names, monkeypatch, proxy, error):
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(error, match=r"[Pp]rox"):
        Gate(watch()).admit(urls.parse("https://hub.example/"))
