"""How builds of engines reach the network: the guarded client of the store, and pip's own index."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

from ..core.errors import InhouseError, NotFound, SourceFailed
from ..engines.variants.origin import Wanted
from ..net import Client
from ..store.sources import Asset, PullEvent, Watch, pip

PAGE: Final = 32 * 2**20
PYPI: Final = "https://pypi.org/simple"
PAUSE: Final = 0.2
_INDEX = re.compile(r"^(:env:|download|install|global)\.index-url='(.*)'$", re.MULTILINE)
_ORDER: Final = (":env:", "download", "install", "global")


class BuildNet:
    """``engines.variants.origin.Net`` for one job. ``mirror`` was set by the operator, and so was pip's
    index: both may lie in private networks, speak plain HTTP and hold a name and password, which go to them
    alone and stand in no address that is handed on."""

    def __init__(self, watch: Watch, mirror: str) -> None:
        self._watch = watch
        self._own: list[str] = []
        self._logins: dict[str, str] = {}
        self.mirror = self._known(mirror) if mirror else ""

    def _known(self, url: str) -> str:
        """An address of the operator's without its name and password, which are kept."""
        parts = urlsplit(url)
        login, _, host = parts.netloc.rpartition("@")
        if login:
            name, _, secret = login.partition(":")
            both = f"{unquote(name)}:{unquote(secret)}".encode()
            self._logins[f"{parts.scheme}://{host}"] = f"Basic {base64.b64encode(both).decode()}"
        self._own.append(host)
        return urlunsplit(parts._replace(netloc=host))

    def _headers(self, url: str) -> dict[str, str]:
        parts = urlsplit(url)
        login = self._logins.get(f"{parts.scheme}://{parts.netloc}")
        return {"Authorization": login} if login else {}

    def index(self) -> str:
        """The index that pip is set to."""
        try:
            done = subprocess.run(
                [*pip.command(), "config", "list"],
                capture_output=True,
                timeout=60,
                check=False,
                stdin=subprocess.DEVNULL,
                cwd=tempfile.gettempdir(),  # "-m" puts the working folder on sys.path
                env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            )
        except (OSError, subprocess.SubprocessError, InhouseError):
            return PYPI
        found = dict(_INDEX.findall(done.stdout.decode("utf-8", "replace")))
        return self._known(next((found[name] for name in _ORDER if found.get(name)), PYPI))

    def page(self, url: str, accept: str) -> bytes:
        """A small document. Raises NotFound, SourceFailed and what the client does."""
        with Client(self._watch, own_hosts=self._own, pause=PAUSE) as client:
            reply = client.ask("GET", url, headers={"Accept": accept, **self._headers(url)}, limit=PAGE)
        if reply.status in (404, 410):
            raise NotFound("The publisher has nothing there.", hint="Name another --version.", detail=url)
        if reply.status != 200:
            raise SourceFailed(
                f"The publisher answers HTTP {reply.status}.", hint="Try again later.", detail=url
            )
        return reply.body

    def file(self, wanted: Wanted, folder: Path) -> Path:
        """The verified file, in ``folder``. Raises DigestMismatch, NoSpace and what the client does."""
        asset = Asset("model", wanted.file, wanted.size, wanted.sha256)
        with Client(self._watch, own_hosts=self._own, pause=PAUSE) as client:
            got = client.download(wanted.url, asset, folder, headers=self._headers(wanted.url))
        if not wanted.size:
            self._watch.say(PullEvent(f"pulled {wanted.file}", "", got.size, got.size))
        return got.path


__all__ = ["BuildNet"]
