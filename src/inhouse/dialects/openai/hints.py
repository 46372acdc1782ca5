"""Who asks, how urgent it is, how long the prompt is wanted again, what is written beside the answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..fields import Fields, check_text, wrong_value

MAX_PAIRS = 16
MAX_KEY = 64
MAX_VALUE = 512
MAX_IDENTIFIER = 128
_PRIORITIES = {"auto": 0, "default": 0, "scale": 0, "flex": -1, "priority": 1, "fast": 1, "ultrafast": 1}
_SERVED = {-1: "flex", 0: "default", 1: "priority"}
_LIFETIMES = {"30m": 1800.0, "12h": 43_200.0, "24h": 86_400.0}


@dataclass(frozen=True, slots=True)
class Hints:
    """``tier`` is what the answer says of its service tier; None when nobody asked. ``pin`` in seconds."""

    priority: int = 0
    tier: str | None = None
    pin: float | None = None
    metadata: dict[str, str] = field(default_factory=dict)


def read_hints(body: Fields) -> Hints:
    """All of them. Raises BadRequest."""
    priority, tier = read_tier(body)
    for name in ("user", "prompt_cache_key"):
        body.text(name)
    body.text("safety_identifier", longest=MAX_IDENTIFIER)
    body.note("user", "safety_identifier", "prompt_cache_key")
    return Hints(priority, tier, read_pin(body), read_metadata(body))


def read_tier(body: Fields) -> tuple[int, str | None]:
    """The place in the queue, and what the answer says of it."""
    asked = body.choice("service_tier", *_PRIORITIES)
    if asked is None:
        return 0, None
    priority = _PRIORITIES[asked]
    return priority, _SERVED[priority]


def read_pin(body: Fields) -> float | None:
    """Seconds for which the prompt is wanted again, by the fields of the whole request."""
    pins = []
    retention = body.choice("prompt_cache_retention", "in_memory", "in-memory", "24h")
    if retention == "24h":
        pins.append(_LIFETIMES[retention])
    else:
        body.note("prompt_cache_retention")
    options = body.mapping("prompt_cache_options")
    if options is not None:
        options.choice("mode", "implicit", "explicit")
        options.note("mode")
        ttl = options.choice("ttl", "30m", "12h")
        if ttl is not None:
            pins.append(_LIFETIMES[ttl])
    return max(pins, default=None)


def read_breakpoint(part: Fields) -> float | None:
    """Seconds for which the prompt up to this part is wanted again."""
    marked = part.mapping("prompt_cache_breakpoint")
    if marked is None:
        return None
    marked.choice("mode", "explicit")
    marked.note("mode")
    return _LIFETIMES[marked.choice("ttl", "30m", "12h") or "30m"]


def read_metadata(body: Fields) -> dict[str, str]:
    """Up to 16 pairs of texts."""
    pairs = body.object("metadata") or {}
    if len(pairs) > MAX_PAIRS:
        wrong_value("metadata", f"at most {MAX_PAIRS} pairs", len(pairs))
    for key, value in pairs.items():
        if len(key) > MAX_KEY:
            wrong_value("metadata", f"keys of at most {MAX_KEY} characters")
        if len(check_text(f"metadata.{key}", value)) > MAX_VALUE:
            wrong_value(f"metadata.{key}", f"at most {MAX_VALUE} characters")
    return pairs
