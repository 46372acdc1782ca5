"""``encrypted_content`` of reasoning items: the text again, opaque to clients, which send it back.

It is not a secret (whoever asked may read the thoughts anyway) and it is not signed: a client could as
well send other text as ``content``.
"""

from __future__ import annotations

import base64
import binascii

_MARK = "inhouse1."


def seal(text: str) -> str:
    """The opaque form of a reasoning text."""
    data = text.encode("utf-8", "replace")
    return _MARK + base64.urlsafe_b64encode(data).decode()


def unseal(sealed: str) -> str | None:
    """The text of what ``seal`` made; None for what another server made, or for damaged text."""
    if not sealed.startswith(_MARK):
        return None
    try:
        return base64.b64decode(sealed[len(_MARK) :], b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        return None
