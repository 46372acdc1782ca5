"""Challenges, realms, tokens and logins: CVE-2025-51471 and its relatives."""

from __future__ import annotations

import base64
import json

import pytest

from inhouse.core.errors import BadRequest, SourceFailed
from inhouse.net import Reply
from inhouse.store.oci import access, settings
from inhouse.store.oci.settings import Settings

BASE = "https://registry.example.com"


@pytest.mark.parametrize(
    "header, expected",
    [
        (
            'Bearer realm="https://a/t",service="s",scope="repository:x/y:pull,push"',
            ("bearer", "https://a/t", "s", "repository:x/y:pull,push"),
        ),
        ("bearer realm=https://a/t, service=s", ("bearer", "https://a/t", "s", "")),
        ('Basic realm="x", Bearer realm="https://a/t"', ("bearer", "https://a/t", "", "")),
        ('Basic realm="x"', ("basic", "x", "", "")),
        ('Negotiate, Basic realm="x"', ("basic", "x", "", "")),
        ("Negotiate", ("", "", "", "")),
        ("", ("", "", "", "")),
        ("Bearer", ("bearer", "", "", "")),
        ('Bearer realm="' + "x" * 100_000, ("bearer", "", "", "")),
    ],
)
def test_challenges_are_read(header, expected):
    found = access.challenge(header)
    assert (found.scheme, found.realm, found.service, found.scope) == expected


class Service:
    """A token service that writes down what it is asked."""

    def __init__(self, *answers):
        self.answers = list(answers) or [(200, {"token": "t"})]
        self.asked = []

    def __call__(self, url, headers):
        self.asked.append((url, dict(headers)))
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return Reply(status, {}, raw, url)


def refused(header, url=BASE + "/v2/a/b/manifests/latest"):
    return Reply(401, {"www-authenticate": header}, b"", url)


def way(service, *, base=BASE, action="pull", private=True, login=None, tmp=None, **config):
    if login:
        auth = base64.b64encode(":".join(login).encode()).decode()
        host = base.partition("://")[2]
        (tmp / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
        config["docker"] = tmp / "config.json"
    return access.Access(base, "a/b", action, Settings(**config), service, private=private)


def bearer(realm=BASE + "/token"):
    return f'Bearer realm="{realm}",service="svc",scope="repository:a/b:pull"'


def test_a_token_is_asked_for_without_a_login_and_lives_as_long_as_it_says():
    service = Service((200, {"token": "abc", "expires_in": 300}))
    assert list(way(service).answers(refused(bearer()))) == [("Bearer abc", 290.0)]
    assert service.asked == [(BASE + "/token?service=svc&scope=repository%3Aa%2Fb%3Apull", {})]


def test_a_missing_scope_is_made_from_the_repository():
    service = Service()
    list(way(service, action="pull,push").answers(refused(f'Bearer realm="{BASE}/token?x=1",service="s"')))
    assert service.asked[0][0] == f"{BASE}/token?x=1&service=s&scope=repository%3Aa%2Fb%3Apull%2Cpush"


def test_for_a_pull_the_login_comes_second_for_a_push_first(tmp_path):
    for action, first in (("pull", {}), ("pull,push", {"Authorization": "Basic bWU6czplY3JldA=="})):
        service = Service()
        found = list(
            way(service, action=action, login=("me", "s:ecret"), tmp=tmp_path).answers(refused(bearer()))
        )
        assert len(found) == len(service.asked) == 2
        assert service.asked[0][1] == first


def test_a_service_that_refuses_nobody_in_particular_gives_no_answer():
    assert list(way(Service((401, {}))).answers(refused(bearer()))) == []


@pytest.mark.parametrize(
    "realm",
    [
        "https://evil.example/token",
        "https://registry.example.com.evil.example/token",
        "https://registry.example.com:8443/token",
        "https://registry.example.com@evil.example/token",
        "https://me@registry.example.com/token",
        "https://evil.example\\@registry.example.com/token",
        "https://auth.docker.io/token",
        "https://example.com/token",
        "//registry.example.com/token",
        "file:///etc/passwd",
        "https://registry.example.com:99999999/token",
        "https://[/token",
        "/token",
        "",
    ],
)
def test_a_foreign_realm_gets_nothing(realm, tmp_path):
    service = Service()
    with pytest.raises(SourceFailed, match="asked to send credentials elsewhere"):
        list(way(service, login=("me", "secret"), tmp=tmp_path).answers(refused(bearer(realm))))
    assert service.asked == []


def test_a_realm_without_tls_is_refused_where_the_registry_has_it():
    service = Service()
    with pytest.raises(SourceFailed, match=r"elsewhere|plain HTTP"):
        list(way(service).answers(refused(bearer("http://registry.example.com:443/token"))))
    assert service.asked == []
    base = "http://127.0.0.1:5000"
    reply = refused(bearer(base + "/token"), base + "/v2/")
    assert list(way(service, base=base).answers(reply)) == [("Bearer t", 50.0)]


@pytest.mark.parametrize(
    "base, realm",
    [
        ("https://registry-1.docker.io", "https://auth.docker.io/token"),
        ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth"),
        ("https://r.corp", "https://login.corp/token"),
        ("https://r.corp:5000", "https://login.corp:8443/token"),
    ],
)
def test_houses_with_a_machine_for_tokens_are_known_or_named(base, realm):
    realms = {"r.corp": "login.corp", "r.corp:5000": "login.corp:8443"}
    reply = refused(bearer(realm), base + "/v2/")
    assert list(way(Service(), base=base, realms=realms).answers(reply)) == [("Bearer t", 50.0)]


def test_a_challenge_from_another_origin_is_not_answered():
    service = Service()
    assert list(way(service).answers(refused(bearer(), "https://cdn.example/blob"))) == []
    assert service.asked == []


def test_basic_needs_a_login_and_goes_to_the_registry_alone(tmp_path):
    reply = refused('Basic realm="x"')
    assert list(way(Service()).answers(reply)) == []
    found = list(way(Service(), login=("me", "pw"), tmp=tmp_path).answers(reply))
    assert found == [("Basic bWU6cHc=", access.PUBLIC_LIFE)]


def test_secrets_stay_at_home_where_others_can_read_along(tmp_path):
    tokens = {"registry.example.com": "tok"}
    assert way(Service(), tokens=tokens).given == "Bearer tok"
    open_way = way(Service(), tokens=tokens, private=False, login=("me", "pw"), tmp=tmp_path)
    assert open_way.given == ""
    assert list(open_way.answers(refused('Basic realm="x"'))) == []
    assert way(Service(), tokens={"other.example": "tok"}).given == ""


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"{"),
        (200, []),
        (200, {}),
        (200, {"token": 7}),
        (200, {"token": ""}),
        (200, {"token": "a\r\nX: y"}),
        (200, {"token": "a b"}),
        (418, {}),
    ],
)
def test_a_token_service_that_makes_no_sense_is_an_error(answer):
    with pytest.raises(SourceFailed):
        list(way(Service(answer)).answers(refused(bearer())))


@pytest.mark.parametrize(
    "life, kept", [(None, 50), ("x", 50), (-5, 50), (True, 50), (1e300, 50), (1, 10), (3600, 3590)]
)
def test_the_life_of_a_token_is_held_to_reason(life, kept):
    service = Service((200, {"access_token": "t", "expires_in": life}))
    assert [found[1] for found in way(service).answers(refused(bearer()))] == [kept]


def test_keys_are_kept_by_repository_and_forgotten_in_time():
    keys = access.Keys()
    keys.put("b", "r", "pull", "Bearer x", 60)
    assert keys.get("b", "r", "pull") == "Bearer x"
    assert keys.get("b", "r", "pull,push") is None
    assert keys.get("b", "other", "pull") is None
    keys.put("b", "r", "pull", "Bearer x", -1)
    assert keys.get("b", "r", "pull") is None
    assert "Bearer" not in repr(keys)


# Settings


def test_the_environment_is_read_in_one_place(tmp_path):
    environ = {
        "INHOUSE_OLLAMA_REGISTRY": "http://Mirror.corp:8080/ollama/",
        "INHOUSE_REGISTRY_TOKEN": "ghcr.io=a=b, R.corp:5000=t,docker.io=d",
        "INHOUSE_REGISTRY_REALMS": "r.corp=login.corp",
        "DOCKER_CONFIG": str(tmp_path),
    }
    found = settings.read(environ, tmp_path)
    assert found.mirror == "http://Mirror.corp:8080/ollama"
    assert found.own_hosts == ("mirror.corp:8080",)
    assert found.tokens == {"ghcr.io": "a=b", "r.corp:5000": "t", "registry-1.docker.io": "d"}
    assert found.realms == {"r.corp": "login.corp"}
    assert found.docker == tmp_path / "config.json"
    assert "a=b" not in repr(found)


def test_without_an_environment_nothing_is_set(tmp_path):
    found = settings.read({}, tmp_path)
    assert (found.mirror, found.own_hosts, found.tokens) == ("", (), {})
    assert found.docker == tmp_path / ".docker" / "config.json"
    assert found.login("ghcr.io") is None


@pytest.mark.parametrize("mirror", ["mirror.corp", "ftp://x", "https://", "https://u:p@x", "https://x?y=1"])
def test_a_mirror_is_a_url(mirror, tmp_path):
    with pytest.raises(BadRequest, match="INHOUSE_OLLAMA_REGISTRY"):
        settings.read({"INHOUSE_OLLAMA_REGISTRY": mirror}, tmp_path)


@pytest.mark.parametrize("value", ["secret", "=x", "host=", "a=b,c"])
def test_tokens_name_their_host_and_are_never_repeated(value, tmp_path):
    with pytest.raises(BadRequest) as caught:
        settings.read({"INHOUSE_REGISTRY_TOKEN": value}, tmp_path)
    assert "secret" not in caught.value.message + caught.value.hint


def test_logins_of_docker_are_found_by_host(tmp_path):
    def auth(text):
        return {"auth": base64.b64encode(text.encode()).decode()}

    path = tmp_path / "config.json"
    path.write_text(
        json.dumps(
            {
                "auths": {
                    "https://index.docker.io/v1/": auth("hub:pw"),
                    "GHCR.io": auth("me:to:ken"),
                    "helper.example": {},
                    "broken.example": {"auth": "%%%"},
                    "latin.example": {"auth": base64.b64encode(b"\xff:x").decode()},
                    "odd.example": {"auth": 7},
                    "bare.example": auth("nocolon"),
                    "list.example": [],
                },
                "credsStore": "desktop",
            }
        )
    )
    found = Settings(docker=path)
    assert found.login("registry-1.docker.io") == ("hub", "pw")
    assert found.login("ghcr.io") == ("me", "to:ken")
    for host in ("helper", "broken", "latin", "odd", "bare", "list", "absent"):
        assert found.login(f"{host}.example") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"auths":[]}', "[" * 10**5])
def test_a_broken_docker_config_has_no_logins(text, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(text)
    assert Settings(docker=path).login("ghcr.io") is None
    assert Settings().login("ghcr.io") is None
