"""The body of the route that plans a load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...core.errors import BadRequest
from ...core.json import parse
from ..fields import Fields

MAX_CONTEXT = 2**31 - 1
MAX_USERS = 1024


@dataclass(frozen=True, slots=True)
class PlanOrder:
    """``model`` a name, or "" where ``path`` names a file. ``context`` and ``users`` None: as the server
    would choose. ``machine``: another one, as ``inhouse doctor --json`` tells of it. ``prompt``: tokens
    that the time to the first token is told for. ``quants``: compare quantisations; ``picture``: draw."""

    model: str = ""
    path: str = ""
    context: int | None = None
    users: int | None = None
    quant: str = ""
    kv_type: str = ""
    prompt: int = 512
    machine: Mapping[str, Any] | None = None
    exact: bool = False
    quants: bool = False
    picture: bool = False


def decode_plan(body: bytes) -> PlanOrder:
    """``{"model" or "path", "context", "users", "quant", "kv_type", "prompt", "machine": {...}, "exact",
    "quants", "picture"}``. Raises BadRequest."""
    fields = Fields(parse(body) if body.strip() else {})
    order = PlanOrder(
        model=fields.text("model") or "",
        path=fields.text("path") or "",
        context=fields.whole("context", 1, MAX_CONTEXT),
        users=fields.whole("users", 1, MAX_USERS),
        quant=fields.text("quant") or "",
        kv_type=(fields.text("kv_type") or "").lower(),
        prompt=fields.whole("prompt", 1, MAX_CONTEXT) or 512,
        machine=fields.object("machine"),
        exact=fields.flag("exact", False),
        quants=fields.flag("quants", False),
        picture=fields.flag("picture", False),
    )
    if bool(order.model) == bool(order.path):
        raise BadRequest("Name a model or the path of a file.", param="model")
    if unknown := fields.noted():
        raise BadRequest(f"The field '{unknown[0]}' is not known here.", param=unknown[0])
    return order


__all__ = ["PlanOrder", "decode_plan"]
