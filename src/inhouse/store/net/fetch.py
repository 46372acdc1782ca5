"""HTTP as something that a transfer reads from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client import Client


class HttpReader:
    def __init__(self, client: Client, url: str, headers: Mapping[str, str]) -> None:
        self.client = client
        self.url = url
        self.headers = headers
