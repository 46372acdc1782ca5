"""The arguments of a call that may be cut off: as much of the object as is certain."""

from __future__ import annotations

import json
import re
from typing import Any

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|(?P<torn>".*)|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)
_CLOSE = {"{": "}", "[": "]"}


def arguments_of(text: str) -> dict[str, Any]:
    """The object that ``text`` is, or the complete values of one that was cut off; else ``{}``."""
    value = _load(text)
    if value is None:
        value = _load(_mended(text))
    return value if isinstance(value, dict) else {}


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _mended(text: str) -> str:
    """``text`` up to its last complete value, with everything open closed."""
    open_: list[str] = []
    best, closing = 0, ""
    colon = False
    for token in _TOKEN.finditer(text):
        word = token[0]
        if token["torn"]:
            break
        if word in _CLOSE:
            open_.append(word)
        elif word in "}]":
            if open_:
                open_.pop()
        elif word in ":,":
            colon = word == ":"
            continue
        in_object = bool(open_) and open_[-1] == "{"
        key = in_object and not colon and word not in _CLOSE and word not in "}]"
        cut = word[0] not in '"{}[]' and token.end() == len(text)  # a number may go on
        if not key and not cut:
            best, closing = token.end(), "".join(_CLOSE[c] for c in reversed(open_))
        colon = False
    return text[:best] + closing
