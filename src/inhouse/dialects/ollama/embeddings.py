"""Encoders without a stream: /api/embed, /api/embeddings, loading or unloading by an empty prompt, and
what ``_debug_render_only`` shows."""

from __future__ import annotations

from typing import Any

from ...core.errors import EngineError, InhouseError
from ...core.events import Event, Finished, Rendered
from ..fold import Fold, warnings_of
from ..wire import dumps
from .errors import error_text
from .shapes import Shape
from .times import Stamper, load_duration, nanoseconds


class OneBody:
    """Base: one JSON object at Finished."""

    media_type = "application/json"
    streaming = False
    route = ""

    def __init__(self, model: str) -> None:
        self._model = model
        self._fold = Fold()

    def feed(self, event: Event) -> bytes:
        finished = self._fold.feed(event)
        return b"" if finished is None else dumps(self._body(finished))

    def fail(self, error: InhouseError) -> bytes:
        return dumps({"error": error_text(error, self.route)})

    def keepalive(self) -> bytes:
        return b""

    def _body(self, finished: Finished) -> dict[str, Any]:
        raise NotImplementedError


class EmbedAnswer(OneBody):
    """/api/embed: all vectors, in the order of the inputs. Raises EngineError when one is missing."""

    route = "embed"

    def __init__(self, model: str, total: int) -> None:
        super().__init__(model)
        self._total = total

    def _body(self, finished: Finished) -> dict[str, Any]:
        body = {
            "model": self._model,
            "embeddings": self._fold.vectors_in_order(self._total),
            "total_duration": nanoseconds(finished.timings.total),
            "load_duration": load_duration(finished.timings),
            "prompt_eval_count": finished.usage.prompt_tokens,
        }
        if self._fold.notices:
            body["warnings"] = warnings_of(self._fold.notices)
        return body


class EmbeddingAnswer(OneBody):
    """/api/embeddings, the old route: one vector, none for an empty prompt."""

    route = "embeddings"

    def __init__(self, model: str, total: int) -> None:
        super().__init__(model)
        self._total = total

    def _body(self, finished: Finished) -> dict[str, Any]:
        vectors = self._fold.vectors_in_order(self._total)
        return {"embedding": vectors[0] if vectors else []}


class LoadAnswer(OneBody):
    """The answer to an empty prompt: ``done_reason`` load or unload."""

    def __init__(self, model: str, shape: Shape, reason: str, stamper: Stamper | None = None) -> None:
        super().__init__(model)
        self.reason = reason
        self._shape = shape
        self._stamp = stamper or Stamper()

    def _body(self, finished: Finished) -> dict[str, Any]:
        return {
            "model": self._model,
            "created_at": self._stamp().decode(),
            **self._shape.text(""),
            "done": True,
            "done_reason": self.reason,
        }


class RenderAnswer(OneBody):
    """``_debug_render_only``: the prompt that the model would have read. Raises EngineError without one."""

    def __init__(self, model: str, shape: Shape, stamper: Stamper | None = None) -> None:
        super().__init__(model)
        self._shape = shape
        self._stamp = stamper or Stamper()
        self._rendered: Rendered | None = None

    def feed(self, event: Event) -> bytes:
        if isinstance(event, Rendered):
            self._rendered = event
        return super().feed(event)

    def _body(self, finished: Finished) -> dict[str, Any]:
        if self._rendered is None:
            raise EngineError("The engine rendered no prompt.", hint="Try again.")
        info: dict[str, Any] = {"rendered_template": self._rendered.prompt}
        if self._rendered.images:
            info["image_count"] = self._rendered.images
        return {
            "model": self._model,
            "created_at": self._stamp().decode(),
            **self._shape.text(""),
            "done": False,  # nothing was generated, and Ollama says so
            "_debug_info": info,
        }
