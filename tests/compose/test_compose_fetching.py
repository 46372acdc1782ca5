"""How builds reach the network: the user's index, the operator's mirror, verified files."""

from __future__ import annotations

import base64
import hashlib
import tempfile
from pathlib import Path

import pytest

from inhouse.compose.fetching import PYPI, BuildNet
from inhouse.core.errors import DigestMismatch, Forbidden, NotFound, SourceFailed
from inhouse.engines.variants.origin import Wanted
from inhouse.store.sources import PullEvent, Watch
from support.fileserver import Fault, FileServer

DATA = b"archive" * 1000


def net(mirror: str = "", said: list[PullEvent] | None = None) -> BuildNet:
    return BuildNet(Watch((said if said is not None else []).append), mirror)


def test_the_index_is_the_one_that_pip_is_set_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    assert net().index() == PYPI
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://one.example/simple\n")
    assert net().index() == "https://one.example/simple"
    monkeypatch.setenv("PIP_INDEX_URL", "https://two.example/simple")
    assert net().index() == "https://two.example/simple"


def test_a_pip_that_somebody_left_in_the_temporary_folder_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.py").write_text(f"open({str(tmp_path / 'planted')!r}, 'w')")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    net().index()
    assert not (tmp_path / "planted").exists()


def test_pages_come_from_the_operators_hosts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with FileServer({"/x/page": b"<html>"}) as server:
        with pytest.raises(Forbidden):
            net().page(server.url("/x/page"), "text/html")
        own = net(server.url("/x"))
        assert own.page(server.url("/x/page"), "text/html") == b"<html>"
        with pytest.raises(NotFound):
            own.page(server.url("/none"), "text/html")
        server.faults.append(Fault(status=403))
        with pytest.raises(SourceFailed, match="403"):
            own.page(server.url("/x/page"), "text/html")


def test_a_file_is_verified_on_its_way(tmp_path: Path) -> None:
    digest = hashlib.sha256(DATA).hexdigest()
    said: list[PullEvent] = []
    with FileServer({"/a.tar.gz": DATA}) as server:
        own = net(server.url(), said)
        wanted = Wanted(server.url("/a.tar.gz"), "a.tar.gz", digest)
        assert own.file(wanted, tmp_path).read_bytes() == DATA
        assert any(event.completed for event in said)
        (tmp_path / "other").mkdir()
        with pytest.raises(DigestMismatch):
            own.file(Wanted(server.url("/a.tar.gz"), "a.tar.gz", "a" * 64), tmp_path / "other")


def test_a_name_and_password_go_to_their_host_and_into_no_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Addresses are written into records that others may read."""
    digest = hashlib.sha256(DATA).hexdigest()
    with FileServer({"/s/x/": b"<html>", "/a": DATA}) as server, FileServer({"/a": DATA}) as other:
        with_login = server.url("/s").replace("http://", "http://us%40er:pass@")
        monkeypatch.setenv("PIP_INDEX_URL", with_login)
        own = net(other.url())
        assert own.index() == server.url("/s")
        own.page(f"{server.url('/s')}/x/", "text/html")
        own.file(Wanted(server.url("/a"), "a", digest), tmp_path)
        wanted = "Basic " + base64.b64encode(b"us@er:pass").decode()
        assert {hit.headers.get("authorization") for hit in server.hits} == {wanted}
        (tmp_path / "b").mkdir()
        own.file(Wanted(other.url("/a"), "a", digest), tmp_path / "b")
        assert {hit.headers.get("authorization") for hit in other.hits} == {None}
        assert net(with_login).mirror == server.url("/s")
