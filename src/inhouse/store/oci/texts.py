"""The small layers of a model, read into ``Texts`` and written from it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, NoReturn

from ...core.errors import SourceFailed
from ..sources.base import Texts
from .media import Meaning

CEILING: Final = 2**20
"""Bytes of one text layer, or of a config blob."""
_ROLES: Final = frozenset({"system", "user", "assistant", "tool"})
_HINT: Final = "The registry or the model in it is damaged or hostile; nothing was kept."


def bad(what: str) -> SourceFailed:
    """The error of a text layer that breaks the rules."""
    return SourceFailed(f"A layer of the model is not valid: {what}.", hint=_HINT)


def read(layers: Iterable[tuple[Meaning, bytes]]) -> Texts:
    """The texts of a model. A later template, system text or message list replaces an earlier one,
    licences add up; a Jinja template goes before a Go template. Raises SourceFailed."""
    found: dict[str, str] = {}
    licences: list[str] = []
    messages: tuple[tuple[str, str], ...] = ()
    defaults: dict[str, Any] = {}
    for meaning, body in layers:
        if meaning == "licence":
            licences.append(body.decode("utf-8", "replace").strip())
        elif meaning == "params":
            defaults = _params(body)
        elif meaning == "messages":
            messages = _messages(body)
        else:
            found[meaning] = _utf8(body, f"the {meaning}")
    return Texts(
        template=found.get("jinja") or found.get("template", ""),
        system=found.get("system", ""),
        licence="\n\n".join(text for text in licences if text),
        messages=messages,
        defaults=defaults,
    )


def _utf8(body: bytes, what: str) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise bad(f"{what} is not UTF-8 text") from error


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def document(body: bytes, what: str) -> Any:
    """JSON without NaN and infinities. Raises SourceFailed."""
    try:
        return json.loads(body, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise bad(f"{what} is not JSON") from error


def _params(body: bytes) -> dict[str, Any]:
    data = document(body, "the parameters")
    if not isinstance(data, dict):
        raise bad("the parameters are not an object")
    out: dict[str, Any] = {}
    for key, value in data.items():
        if key == "stop" and isinstance(value, list) and all(isinstance(v, str) for v in value):
            out[key] = list(value)
        elif isinstance(value, str | int | float):
            out[key] = [value] if key == "stop" and isinstance(value, str) else value
        elif value is not None:
            raise bad(f"the parameter '{key[:40]}' is neither a number, a text nor true or false")
    return out


def _messages(body: bytes) -> tuple[tuple[str, str], ...]:
    data = document(body, "the message list")
    if data is None:
        return ()
    if not isinstance(data, list):
        raise bad("the message list is not a list")
    out = []
    for item in data:
        role = item.get("role") if isinstance(item, dict) else None
        content = item.get("content", "") if isinstance(item, dict) else None
        if not isinstance(role, str) or role not in _ROLES or not isinstance(content, str):
            raise bad("a message has no role or no text")
        out.append((role, content))
    return tuple(out)


def is_jinja(template: str) -> bool:
    """Whether a template is Jinja and not Go: Go has no statement braces."""
    return "{%" in template or "{#" in template


def write(texts: Texts) -> list[tuple[Meaning, bytes]]:
    """The layers that ``read`` makes the same texts of; empty texts make none."""
    out: list[tuple[Meaning, bytes]] = []
    if texts.template:
        out.append(("jinja" if is_jinja(texts.template) else "template", texts.template.encode()))
    if texts.system:
        out.append(("system", texts.system.encode()))
    if texts.defaults:
        out.append(("params", _json(dict(texts.defaults))))
    if texts.messages:
        out.append(("messages", _json([{"role": r, "content": c} for r, c in texts.messages])))
    if texts.licence:
        out.append(("licence", texts.licence.encode()))
    return out


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
