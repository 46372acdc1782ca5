"""The text of a custom tool's call, out of the JSON arguments that the engine streams.

The arguments are ``{"input": "..."}``; the string is unescaped as far as it has come, never within an
escape or a pair of surrogates.
"""

from __future__ import annotations

import json
import re

_OPENING = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_WHOLE = re.compile(
    r'(?:[^"\\]+'
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4}"
    r'|\\["\\/bfnrt])*'
)


_OPENING_WITHIN = 256
_LONGEST_ESCAPE = 12  # a pair of surrogates


class InputText:
    """Takes pieces of arguments, gives pieces of text. The work is linear in their length."""

    def __init__(self) -> None:
        self._raw: list[str] = []
        self._given: list[str] = []
        self._held = ""
        self._inside = False
        self._over = False

    def add(self, arguments: str) -> str:
        """The text that this piece of the arguments completes."""
        self._raw.append(arguments)
        if self._over or not arguments:
            return ""
        self._held += arguments
        if not self._inside and not self._enter():
            return ""
        match = _WHOLE.match(self._held)
        assert match is not None  # noqa: S101  # it matches the empty string too
        self._held = self._held[match.end() :]
        # What follows the string, or is no escape, never becomes text.
        self._over = self._held.startswith('"') or len(self._held) >= _LONGEST_ESCAPE
        return self._give(json.loads(f'"{match[0]}"', strict=False))

    def _enter(self) -> bool:
        """Whether the string has begun; it is looked for in the first few characters."""
        opening = _OPENING.match(self._held, 0, _OPENING_WITHIN)
        if opening is None:
            self._over = len(self._held) >= _OPENING_WITHIN
            return False
        self._inside = True
        self._held = self._held[opening.end() :]
        return True

    def end(self) -> str:
        """What is left when the call is complete: nothing, but for arguments of another form."""
        raw, given = "".join(self._raw), "".join(self._given)
        try:
            value = json.loads(raw, strict=False)
        except (ValueError, RecursionError):
            return "" if self._inside else self._give(raw)
        whole = value.get("input") if isinstance(value, dict) else None
        if not isinstance(whole, str):
            return "" if self._inside else self._give(raw)
        return self._give(whole[len(given) :]) if whole.startswith(given) else ""

    def _give(self, text: str) -> str:
        self._given.append(text)
        return text
