"""Fields that several tasks take."""

from __future__ import annotations

from typing import Any

from ..fields import Fields, missing, wrong_type, wrong_value

MAX_TEXTS = 2048
"""Documents of one request, as inputs of one request for embeddings."""


def read_text(value: Any, param: str) -> str:
    """A text, or an object that holds one as ``text``; never empty. Raises BadRequest."""
    if isinstance(value, dict):
        inner = Fields(value, param)
        if "image" in value:
            inner.refuse("image", why="Only texts are compared here.")
        return inner.required_text("text")
    if not isinstance(value, str):
        wrong_type(param, "a string or an object with 'text'", value)
    if not value:
        wrong_value(param, "a string that is not empty")
    return value


def read_texts(fields: Fields, name: str) -> list[str]:
    """A required list of texts. Raises BadRequest, naming the one at fault."""
    items = fields.items(name, MAX_TEXTS)
    if items is None:
        missing(fields.at(name), "an array of strings")
    if not items:
        wrong_value(fields.at(name), "at least one text")
    return [read_text(item, f"{fields.at(name)}[{i}]") for i, item in enumerate(items)]


def read_raw(fields: Fields) -> bool:
    """Whether the model's own figures are wanted: TEI's ``raw_scores``, vLLM's ``use_activation``."""
    raw = fields.flag("raw_scores")
    activated = fields.flag("use_activation")
    if raw is not None and activated is not None and raw == activated:
        wrong_value("use_activation", "not the same as 'raw_scores', which is its opposite")
    return raw if raw is not None else activated is False


def read_truncate(fields: Fields, default: bool = False) -> bool:
    """Whether what is too long may be cut: TEI's ``truncate``, Voyage's ``truncation``, and vLLM's
    ``truncate_prompt_tokens``, of which only -1 (what the model takes) is known."""
    fields.refuse("truncate_prompt_tokens", -1, why="Use -1, or max_tokens_per_doc.")
    direction = fields.choice("truncation_direction", "right", "Right", "left", "Left")
    if direction in ("left", "Left"):
        wrong_value("truncation_direction", "'right': texts are cut at their end")
    asked = [fields.flag(name) for name in ("truncate", "truncation")]
    if fields.has("truncate_prompt_tokens"):
        asked.append(True)
    told = {one for one in asked if one is not None}
    if len(told) > 1:
        wrong_value("truncate", "the same as the other fields that say it")
    return told.pop() if told else default


def read_priority(fields: Fields) -> int:
    """Cohere's and vLLM's ``priority``: 0 comes first and is the default."""
    return -1 if fields.whole("priority", 0, 999) else 0
