"""Texts as Go writes them between double quotes."""

from __future__ import annotations

import re
from typing import Final

_SIMPLE: Final = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    '"': '"',
    "\\": "\\",
}
_SHOWN: Final = {char: "\\" + letter for letter, char in _SIMPLE.items()}
_ESCAPE: Final = re.compile(
    r"\\(?:([abfnrtv\"\\])|x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([0-7]{3}))|(\\)"
)


def quote(text: str) -> str:
    """A text as Go's ``%q`` prints it, its quotes included."""
    out = []
    for char in text:
        if char in _SHOWN:
            out.append(_SHOWN[char])
        elif char.isprintable():
            out.append(char)
        elif char < "\x80":
            out.append(f"\\x{ord(char):02x}")
        else:
            out.append(f"\\u{ord(char):04x}" if char <= "\uffff" else f"\\U{ord(char):08x}")
    return '"' + "".join(out) + '"'


def unquote(inner: str) -> str | None:
    """What stands between two quotes with its escapes read; None when one of them is none of Go's.

    A byte escape (``\\xe9``, ``\\351``) above ASCII is none here: alone it is no character.
    """
    out: list[str] = []
    end = 0
    for match in _ESCAPE.finditer(inner):
        out.append(inner[end : match.start()])
        end = match.end()
        simple, hex2, hex4, hex8, octal, broken = match.groups()
        if broken:
            return None
        if simple:
            out.append(_SIMPLE[simple])
            continue
        code = int(octal, 8) if octal else int(hex2 or hex4 or hex8, 16)
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF or ((octal or hex2) and code > 0x7F):
            return None
        out.append(chr(code))
    return "".join(out) + inner[end:]
