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
    open_ = ""  # what closes all that is open, the innermost first
    best, closing = 0, ""
    colon = False
    for token in _TOKEN.finditer(text):
        word = token[0]
        if token["torn"]:
            break
        if word in _CLOSE:
            open_ = _CLOSE[word] + open_
        elif word in "}]":
            open_ = open_[1:]
        elif word in ":,":
            colon = word == ":"
            continue
        in_object = open_[:1] == "}"
        key = in_object and not colon and word not in _CLOSE and word not in "}]"
        cut = word[0] not in '"{}[]' and token.end() == len(text)  # a number may go on
        if not key and not cut:
            best, closing = token.end(), open_
        colon = False
    return text[:best] + closing
