"""One turn of a chat over POST /api/chat: what is sent, how it is shown, what it cost."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import InhouseError
from . import output
from .client import Client
from .screen import Screen


@dataclass(slots=True)
class Session:
    """What a conversation is made of; ``/set`` and the options of ``run`` change it."""

    model: str
    system: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    format: Any = None
    think: bool | str | None = None
    keep_alive: str | float | None = None
    messages: list[dict[str, str]] = field(default_factory=list)
    hide_thinking: bool = False
    wrap: bool = True
    verbose: bool = False
    stats: bool = False

    def body(self) -> dict[str, Any]:
        """The request, with only the fields that were set."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        body: dict[str, Any] = {"model": self.model, "messages": [*system, *self.messages], "stream": True}
        further = {
            "options": self.options or None,
            "format": self.format,
            "think": self.think,
            "keep_alive": self.keep_alive,
        }
        return body | {name: value for name, value in further.items() if value is not None}

    def screen(self) -> Screen:
        """Where the next answer is shown."""
        if self.hide_thinking:
            return Screen(thinking=False, wrap=self.wrap)
        return Screen(thinking=True if self.think else None, wrap=self.wrap)


@dataclass(slots=True)
class Answer:
    """What came back: text, the last object with its counts, seconds to the first token or None."""

    text: str = ""
    thinking: str = ""
    final: dict[str, Any] = field(default_factory=dict)
    ttft: float | None = None


def load(client: Client, session: Session) -> None:
    """Load the model and generate nothing."""
    body = session.body() | {"messages": []}
    with client.stream("/api/chat", body) as stream:
        screen = session.screen()
        try:
            for _ in stream.events(screen.tick):
                pass
        finally:
            screen.end()


def ask(client: Client, session: Session) -> Answer:
    """Stream one answer to the screen. Raises KeyboardInterrupt with what came so far kept in
    ``session.messages``, and InhouseError when the answer breaks; closing cancels the generation."""
    answer, screen = Answer(), session.screen()
    began = time.monotonic()
    try:
        with client.stream("/api/chat", session.body()) as stream:
            for event in stream.events(screen.tick):
                _take(event, answer, screen, began)
    except KeyboardInterrupt:
        keep(session, answer)
        raise
    finally:
        screen.end()
    if not answer.final:
        raise InhouseError("the answer broke off", hint="See what happened: inhouse doctor")
    keep(session, answer)
    report(session, answer)
    return answer


def _take(event: dict[str, Any], answer: Answer, screen: Screen, began: float) -> None:
    message = event.get("message") or {}
    text, thinking = message.get("content") or "", message.get("thinking") or ""
    if (text or thinking) and answer.ttft is None:
        answer.ttft = time.monotonic() - began
    if thinking:
        answer.thinking += thinking
        screen.think(thinking)
    if text:
        answer.text += text
        screen.say(text)
    if event.get("done"):
        answer.final = event


def keep(session: Session, answer: Answer) -> None:
    """Add the answer to the conversation, or take back the question that got none."""
    if answer.text:
        session.messages.append({"role": "assistant", "content": answer.text})
    elif session.messages and session.messages[-1]["role"] == "user":
        session.messages.pop()


def report(session: Session, answer: Answer) -> None:
    """Warnings always; statistics when asked for; all on stderr."""
    for warning in answer.final.get("warnings") or []:
        output.note(f"Warning: {warning}", colour="yellow")
    if answer.final.get("done_reason") == "length" and "num_predict" not in session.options:
        output.note("Warning: the answer was cut at the length limit.", colour="yellow")
    if session.verbose:
        output.note("\n" + statistics(answer))
    if session.stats:
        output.note(summary(answer))


def _rate(count: int, nanoseconds: int) -> float | None:
    return count / nanoseconds * 1e9 if nanoseconds else None


def statistics(answer: Answer) -> str:
    """Ollama's block, and the time to the first token as it was felt here."""
    final = answer.final

    def span(name: str) -> str:
        return output.seconds(final.get(name, 0) / 1e9)

    lines = [("total duration", span("total_duration")), ("load duration", span("load_duration"))]
    for label in ("prompt eval", "eval"):
        name = label.replace(" ", "_")
        count = int(final.get(f"{name}_count") or 0)
        lines += [(f"{label} count", f"{count} token(s)"), (f"{label} duration", span(f"{name}_duration"))]
        rate = _rate(count, final.get(f"{name}_duration", 0))
        if rate is not None:
            lines.append((f"{label} rate", f"{rate:.2f} tokens/s"))
    if answer.ttft is not None:
        lines.append(("time to first token", output.seconds(answer.ttft)))
    return "\n".join(f"{label + ':':<22}{value}" for label, value in lines)


def summary(answer: Answer) -> str:
    """Tokens, TTFT and tokens/s on one line."""
    final = answer.final
    count = int(final.get("eval_count") or 0)
    parts = [f"{int(final.get('prompt_eval_count') or 0)} prompt tokens", f"{count} tokens"]
    if answer.ttft is not None:
        parts.append(f"TTFT {output.seconds(answer.ttft)}")
    rate = _rate(count, final.get("eval_duration", 0))
    if rate is not None:
        parts.append(f"{rate:.1f} tokens/s")
    load = final.get("load_duration", 0) / 1e9
    if load >= 0.05:
        parts.append(f"model load {output.seconds(load)}")
    return ", ".join(parts)
