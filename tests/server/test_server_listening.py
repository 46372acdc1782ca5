"""Where a server may listen: not for everybody unless somebody says so."""

from __future__ import annotations

import pytest

from inhouse.config import Server
from inhouse.core.errors import Forbidden
from inhouse.server import check_public, is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.0.1"])
def test_on_this_machine_no_key_is_needed(host: str) -> None:
    assert is_loopback(host)
    check_public(Server(), host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.2", "example.org"])
def test_for_a_network_a_key_is_needed_or_the_operators_word(host: str) -> None:
    with pytest.raises(Forbidden, match="without a key") as caught:
        check_public(Server(), host)
    assert "INHOUSE_API_KEY" in caught.value.hint
    check_public(Server(api_key="secret"), host)
    check_public(Server(allow_public=True), host)
