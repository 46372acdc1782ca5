"""Keys: of the setting and of their file, and what is said when the file makes no sense."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from inhouse.cli.server import _key
from inhouse.config import Config, Server
from inhouse.config.keys import ApiKey, api_keys
from inhouse.core.errors import BadRequest
from inhouse.server.keys import Keys, tenant_of


def written(tmp_path: Path, text: str) -> Server:
    path = tmp_path / "keys"
    path.write_text(text, "utf-8")
    return Server(api_keys_file=str(path), api_key="inline-1, inline-2,")


def test_keys_come_from_the_setting_and_then_from_the_file(tmp_path: Path) -> None:
    found = api_keys(written(tmp_path, "\n# all of us\n alice = a=b=c \nbob=2 # not a comment\n"))
    assert [(key.name, key.secret) for key in found] == [
        ("", "inline-1"),
        ("", "inline-2"),
        ("alice", "a=b=c"),
        ("bob", "2 # not a comment"),
    ]
    assert api_keys(Server()) == ()


@pytest.mark.parametrize(
    "text", ["alice", "=secret-x", "alice=", "alice=" + "secret-x" * 1000, "# none\n", ""]
)
def test_a_file_that_makes_no_sense_is_refused_without_its_secrets(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        api_keys(written(tmp_path, text))
    assert "secret-x" not in caught.value.message + caught.value.hint + caught.value.detail
    assert str(tmp_path) not in caught.value.message
    assert caught.value.hint


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="cannot be read"):
        api_keys(Server(api_keys_file=str(tmp_path / "none")))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadRequest, match="UTF-8"):
        api_keys(Server(api_keys_file=str(tmp_path / "binary")))


@pytest.mark.skipif(sys.platform == "win32", reason="home folders by environment")
def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "alice=1")
    monkeypatch.setitem(os.environ, "HOME", str(tmp_path))
    assert api_keys(Server(api_keys_file="~/keys")) == (ApiKey("alice", "1"),)


def test_the_command_line_uses_the_first_key_it_can_read(tmp_path: Path) -> None:
    def key(settings: Server) -> str:
        return _key(Config(home=tmp_path, server=settings))

    assert key(written(tmp_path, "alice=1")) == "inline-1"
    assert key(Server(api_keys_file=str(tmp_path / "keys"))) == "1"
    assert key(Server(api_keys_file=str(tmp_path / "none"))) == ""
    assert key(Server()) == ""


def test_a_key_does_not_print_its_secret() -> None:
    assert "hush" not in repr(ApiKey("alice", "hush"))


def test_a_file_that_begins_as_windows_editors_write_it_is_read(tmp_path: Path) -> None:
    found = api_keys(Server(api_keys_file=written(tmp_path, "\ufeffalice=1\n").api_keys_file))
    assert found == (ApiKey("alice", "1"),)


def test_a_key_of_the_environment_need_not_be_text() -> None:
    secret = os.fsdecode(b"caf\xe9")
    assert Keys([ApiKey("", secret)]).admits("caf\xe9")


def test_each_key_lets_in_and_has_its_own_name() -> None:
    keys = Keys([ApiKey("", "one"), ApiKey("alice", "two"), ApiKey("zoë", "schlüssel")])
    assert keys
    assert all(keys.admits(secret) for secret in ("one", "two"))
    assert keys.admits("schlüssel".encode().decode("latin-1"))  # as a header brings it
    assert not any(keys.admits(secret) for secret in ("", "three", "one, two", "o", "schlüssel"))
    assert keys.name(tenant_of("two")) == "alice"
    assert keys.name(tenant_of("schlüssel".encode().decode("latin-1"))) == "zoë"
    assert keys.name(tenant_of("one")) == keys.name("nobody") == ""
    assert not Keys()
    assert not Keys().admits("")
