"""What Ollama's servers say of ollama.com, from a server that has no account there and never asks it.

The statuses and texts are those of an Ollama whose cloud features are switched off, so that its clients
know what to do with them.
"""

from __future__ import annotations

from ..codec import ErrorAnswer
from ..wire import dumps

STATUS = dumps({"cloud": {"disabled": True, "source": "config"}})
"""GET /api/status."""
RECOMMENDATIONS = dumps({"recommendations": []})
"""GET /api/experimental/model-recommendations: those are ollama.com's."""
_OFF = "ollama cloud is disabled"


def _error(status: int, text: str) -> ErrorAnswer:
    return ErrorAnswer(status, dumps({"error": text}))


NO_ACCOUNT = _error(401, "unauthorized")
"""POST /api/me. Without ``signin_url``: there is nowhere to sign in."""
NOT_SIGNED_IN = _error(401, "you are not currently signed in")
"""POST /api/signout."""
NO_SEARCH = _error(403, f"{_OFF}: web search is unavailable")
NO_FETCH = _error(403, f"{_OFF}: web fetch is unavailable")

__all__ = ["NOT_SIGNED_IN", "NO_ACCOUNT", "NO_FETCH", "NO_SEARCH", "RECOMMENDATIONS", "STATUS"]
