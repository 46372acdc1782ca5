"""The connection to a server of OpenAI's wire."""

from __future__ import annotations

import contextlib

import aiohttp

from ...core.errors import InhouseError
from ...dialects.openai.client import from_answer
from ..http import Link


class OpenAILink(Link):
    """As a worker's, but that refusals are read as OpenAI's."""

    def _refused(self, response: aiohttp.ClientResponse, body: bytes, param: str) -> InhouseError:
        seconds: float | None = None
        with contextlib.suppress(ValueError):  # a date is not worth reading: the default is a second
            seconds = float(response.headers.get("retry-after", ""))
        return from_answer(response.status, body, param=param, retry_after=seconds)
