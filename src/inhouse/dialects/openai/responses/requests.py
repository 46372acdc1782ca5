"""Bodies of the Responses API -> orders. Every refusal is a BadRequest that names its field."""

from __future__ import annotations

from typing import Any

from ....core.json import parse
from ....core.messages import Format, Sampling
from ....core.requests import Chat
from ...adapters import read_adapters
from ...fields import INT32_MAX, Fields, missing, wrong_value
from ...schemas import check_schema
from ..hints import read_metadata, read_pin, read_tier
from ..sampling import read_sampling
from ..thinking import EFFORTS
from .items import MAX_ID, kept_input
from .order import Order
from .tools import read_tool_choice, read_tools

_LOGPROBS, SEALED = "message.output_text.logprobs", "reasoning.encrypted_content"
# Those without an effect are about tools that are not here, or always given.
INCLUDABLE = (
    _LOGPROBS,
    SEALED,
    "message.input_image.image_url",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
)
_NAME_LENGTH = 64


def decode_create(body: bytes) -> Order:
    """POST /v1/responses. Raises BadRequest."""
    fields = Fields(parse(body))
    for name in ("prompt", "moderation", "context_management", "access_programs", "background_options"):
        fields.refuse(name)
    fields.refuse("image", {"context_compression": "disabled"}, {"context_compression": "auto"})
    stream, background = fields.flag("stream", False), fields.flag("background", False)
    store = fields.flag("store")
    if background and store is False:
        wrong_value("background", "it only with 'store': true")
    obfuscate = _obfuscate(fields, stream)
    include = read_include(fields)
    order, echo = _asked(fields)
    top = fields.whole("top_logprobs", 0, 20)
    wants_logprobs = bool(top) or _LOGPROBS in include
    limit = fields.whole("max_output_tokens", 1, INT32_MAX)
    sampling = read_sampling(fields, limit)
    priority, tier = read_tier(fields)
    echo |= {
        "background": background,
        "max_output_tokens": limit,
        "max_tool_calls": fields.whole("max_tool_calls", 1, INT32_MAX),
        "service_tier": tier or "default",
        "temperature": sampling.temperature,
        "top_logprobs": top or 0,
        "top_p": sampling.top_p,
        "presence_penalty": sampling.presence_penalty or 0.0,
        "frequency_penalty": sampling.frequency_penalty or 0.0,
        "metadata": read_metadata(fields),
        **_hints(fields),
    }
    fields.note("max_tool_calls")
    more = {
        "keep_alive": fields.duration("keep_alive"),
        "adapters": read_adapters(fields),
        "sampling": sampling,
        "logprobs": (top or 0) if wants_logprobs else None,
        "priority": priority,
        "pin": read_pin(fields),
    }
    return _finish(
        order, echo, more, stream=stream, background=background, store=store, sealed=SEALED in include,
        obfuscate=obfuscate, noted=fields.noted(),
    )  # fmt: skip


def decode_count(body: bytes) -> Order:
    """POST /v1/responses/input_tokens. Raises BadRequest."""
    fields = Fields(parse(body))
    fields.refuse("personality")
    order, echo = _asked(fields)
    return _finish(order, echo, {"sampling": Sampling()}, noted=fields.noted())


def _finish(order: dict[str, Any], echo: dict[str, Any], chat: dict[str, Any], **more: Any) -> Order:
    return Order(chat=Chat(messages=(), **order.pop("chat"), **chat), echo=echo, **order, **more)


def _asked(fields: Fields) -> tuple[dict[str, Any], dict[str, Any]]:
    """What both routes have: the fields of an order (``chat`` as a dict) and of the echo."""
    model = fields.required_text("model")
    box = read_tools(fields)
    tools, choice, shown_choice = read_tool_choice(fields, box)
    answer_format, text = _text(fields)
    think, reasoning, summary = _reasoning(fields)
    parallel = fields.flag("parallel_tool_calls")
    truncation = fields.choice("truncation", "auto", "disabled") or "disabled"
    instructions = fields.text("instructions")
    previous = fields.text("previous_response_id", longest=MAX_ID)
    conversation = _conversation(fields)
    if previous and conversation:
        wrong_value("previous_response_id", "it only without 'conversation'")
    items = kept_input(fields)
    if not items and not (previous or conversation):
        missing("input", "a string or an array of items")
    chat = {
        "model": model,
        "tools": tools,
        "tool_choice": choice,
        "parallel_tool_calls": parallel,
        "format": answer_format,
        "think": think,
        "truncate": truncation == "auto",
    }
    order = {
        "chat": chat,
        "items": items,
        "instructions": instructions,
        "previous": previous,
        "conversation": conversation,
        "summary": summary,
        "offers": box.offers,
        "notices": box.notices,
    }
    echo: dict[str, Any] = {
        "model": model,
        "instructions": instructions,
        "previous_response_id": previous,
        "conversation": {"id": conversation} if conversation else None,
        "parallel_tool_calls": parallel is not False,
        "reasoning": reasoning,
        "text": text,
        "tool_choice": shown_choice,
        "tools": list(box.echo),
        "truncation": truncation,
    }
    return order, echo


def _obfuscate(fields: Fields, stream: bool) -> bool:
    options = fields.mapping("stream_options")
    if options is None:
        return False
    if not stream:
        wrong_value("stream_options", "it only with 'stream': true")
    return options.flag("include_obfuscation", False)


def read_include(fields: Fields) -> frozenset[str]:
    """What the client wants beyond the usual."""
    return check_include(fields.items("include", len(INCLUDABLE) * 4) or [], "include")


def check_include(values: list[Any], param: str) -> frozenset[str]:
    """The values of ``include``. Raises BadRequest for unknown ones."""
    for i, value in enumerate(values):
        if not isinstance(value, str) or value not in INCLUDABLE:
            wrong_value(f"{param}[{i}]", "one of " + ", ".join(f"'{one}'" for one in INCLUDABLE), value)
    return frozenset(values)


def _hints(fields: Fields) -> dict[str, Any]:
    """Fields that say who asks or how to cache; the answer repeats them."""
    names = ("user", "safety_identifier", "prompt_cache_key")
    found = {name: fields.text(name) for name in names}
    fields.note(*names)
    return {**found, "prompt_cache_retention": fields.text("prompt_cache_retention")}


def _conversation(fields: Fields) -> str | None:
    value = fields.get("conversation")
    if value is None or isinstance(value, str):
        return fields.text("conversation", longest=MAX_ID) or None
    inner = fields.mapping("conversation")
    assert inner is not None  # noqa: S101  # it is there
    return inner.required_text("id")


def _reasoning(fields: Fields) -> tuple[bool | str | None, dict[str, Any], bool]:
    """Whether and how hard to think, how an answer shows that, and whether as a summary.

    There is no summariser: the summary that is called ``auto`` or ``detailed`` is the whole reasoning.
    """
    asked = fields.mapping("reasoning")
    if asked is None:
        return None, {"effort": None, "summary": None}, False
    effort = asked.choice("effort", *EFFORTS)
    wanted = None
    for name in ("summary", "generate_summary"):
        asked.refuse(name, "auto", "detailed", why="A shorter summary is not made here; 'auto' shows all.")
        wanted = wanted or asked.choice(name, "auto", "detailed")
    asked.refuse("mode", "standard")
    asked.refuse("context", "auto", "all_turns", why="What was thought stays in the conversation.")
    think = None if effort is None else EFFORTS[effort]
    return think, {"effort": effort, "summary": wanted}, wanted is not None


def _text(fields: Fields) -> tuple[Format | None, dict[str, Any]]:
    """The form of the answer, and how the response shows it."""
    text = fields.mapping("text")
    if text is None:
        return None, {"format": {"type": "text"}, "verbosity": "medium"}
    text.refuse("verbosity", "medium", why="Ask for a short or long answer in a message.")
    wanted = text.mapping("format")
    shown: dict[str, Any] = {"type": "text"}
    form = None
    if wanted is not None:
        form, shown = _format(wanted)
    return form, {"format": shown, "verbosity": "medium"}


def _format(wanted: Fields) -> tuple[Format | None, dict[str, Any]]:
    kind = wanted.choice("type", "text", "json_object", "json_schema")
    if kind is None:
        missing(wanted.at("type"), "'text', 'json_object' or 'json_schema'")
    if kind == "text":
        return None, {"type": "text"}
    if kind == "json_object":
        return Format("json", param="text.format"), {"type": "json_object"}
    name = wanted.text("name", longest=_NAME_LENGTH)
    if not name:
        missing(wanted.at("name"), "a name for the schema")
    schema = wanted.object("schema")
    if schema is None:
        missing(wanted.at("schema"), "a JSON Schema object")
    check_schema(schema, wanted.at("schema"))
    after = wanted.choice("enforcement", "decoding", "after") == "after"
    shown = {"type": "json_schema", "name": name, "schema": schema, "strict": wanted.flag("strict", True)}
    if (description := wanted.text("description")) is not None:
        shown["description"] = description
    return Format("schema", schema, after=after, param="text.format.schema"), shown
