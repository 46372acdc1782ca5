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


class InputText:
    """Takes pieces of arguments, gives pieces of text; ``text`` is what was given so far."""

    def __init__(self) -> None:
        self.text = ""
        self._raw: list[str] = []
        self._held = ""
        self._inside = False

    def add(self, arguments: str) -> str:
        """The text that this piece of the arguments completes."""
        self._raw.append(arguments)
        if not self._inside:
            raw = "".join(self._raw)
            opening = _OPENING.match(raw)
            if opening is None:
                return ""
            self._inside = True
            arguments = raw[opening.end() :]
        self._held += arguments
        match = _WHOLE.match(self._held)
        assert match is not None  # noqa: S101  # it matches the empty string too
        self._held = self._held[match.end() :]
        return self._give(json.loads(f'"{match[0]}"', strict=False))

    def end(self) -> str:
        """What is left when the call is complete: nothing, but for arguments of another form."""
        raw = "".join(self._raw)
        try:
            value = json.loads(raw, strict=False)
        except ValueError:
            return "" if self._inside else self._give(raw)
        whole = value.get("input") if isinstance(value, dict) else None
        if not isinstance(whole, str):
            return "" if self._inside else self._give(raw)
        return self._give(whole[len(self.text) :]) if whole.startswith(self.text) else ""

    def _give(self, text: str) -> str:
        self.text += text
        return text
