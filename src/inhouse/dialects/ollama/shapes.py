"""Where /api/chat and /api/generate differ: the place of text, thinking and tool calls."""

from __future__ import annotations

from typing import Any

from ...core.events import Finished, Reason
from .times import load_duration, nanoseconds

DONE_REASONS: dict[Reason, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "stop",
    "load": "load",
    "unload": "unload",
}


class Shape:
    """The shape of /api/chat: everything inside ``message``. ``context``: give token ids back."""

    text_before = b'","message":{"role":"assistant","content":'
    thinking_before = b'","message":{"role":"assistant","content":"","thinking":'
    text_after = b"}"
    context = False

    def text(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text}}

    def tool_calls(self, calls: list[dict[str, Any]]) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": "", "tool_calls": calls}}

    def merge(self, piece: dict[str, Any], name: str, value: Any) -> None:
        """Put thinking or tool calls beside the text."""
        piece["message"][name] = value


class GenerateShape(Shape):
    """The shape of /api/generate: everything at the top."""

    text_before = b'","response":'
    thinking_before = b'","response":"","thinking":'
    text_after = b""

    def __init__(self, *, context: bool) -> None:
        self.context = context

    def text(self, text: str) -> dict[str, Any]:
        return {"response": text}

    def tool_calls(self, calls: list[dict[str, Any]]) -> dict[str, Any]:
        return {"response": "", "tool_calls": calls}

    def merge(self, piece: dict[str, Any], name: str, value: Any) -> None:
        piece[name] = value


def final_fields(finished: Finished, context: bool) -> dict[str, Any]:
    """Figures of the last object: counts, nanoseconds and, when wanted, the context's token ids."""
    usage, timings = finished.usage, finished.timings
    fields: dict[str, Any] = {}
    if context and finished.context is not None:
        fields["context"] = finished.context
    fields |= {
        "total_duration": nanoseconds(timings.total),
        "load_duration": load_duration(timings),
        "prompt_eval_count": usage.prompt_tokens,
        "prompt_eval_cached_count": usage.cached_tokens,
        "prompt_eval_duration": nanoseconds(timings.prefill),
        "eval_count": usage.completion_tokens,
        "eval_duration": nanoseconds(timings.decode),
    }
    return fields
