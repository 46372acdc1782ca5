"""Request headers of Anthropic's API."""

from __future__ import annotations

import re
from collections.abc import Callable

from ...core.errors import BadRequest

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}\Z", re.ASCII)


def check_headers(header: Callable[[str], str | None]) -> None:
    """``anthropic-version`` is a date where it is sent; programs that leave it out are served too.

    Any ``anthropic-beta`` is accepted: what is supported works with and without its header.
    """
    version = header("anthropic-version")
    if version is not None and not _DATE.match(version):
        raise BadRequest(
            "It must be a date such as 2023-06-01.",
            hint="Official clients send it.",
            param="anthropic-version",
        )
