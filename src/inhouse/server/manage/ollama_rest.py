"""The routes of Ollama that concern ollama.com: answered, so that clients know there is none here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...dialects.codec import ErrorAnswer
from ...dialects.ollama import cloud
from .. import answers
from ..answers import Receive, Scope, Send

if TYPE_CHECKING:
    from .services import Services


class Said:
    """An endpoint that always answers the same, whatever is sent."""

    def __init__(self, answer: bytes | ErrorAnswer) -> None:
        self._answer = answer

    async def __call__(self, services: Services, scope: Scope, receive: Receive, send: Send) -> None:
        await answers.body(scope, receive, services.config.server.max_body)
        if isinstance(self._answer, bytes):
            await answers.whole(scope, send, self._answer)
        else:
            await answers.error(scope, send, self._answer)


status, recommendations = Said(cloud.STATUS), Said(cloud.RECOMMENDATIONS)
account, signout = Said(cloud.NO_ACCOUNT), Said(cloud.NOT_SIGNED_IN)
web_search, web_fetch = Said(cloud.NO_SEARCH), Said(cloud.NO_FETCH)
