"""One conversation in the words of every dialect: a core Chat is written as each API's JSON body."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from inhouse.core.messages import (
    Format,
    Image,
    Message,
    Reasoning,
    Remote,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from inhouse.core.requests import Chat
from inhouse.dialects import anthropic, ollama, openai
from inhouse.dialects.openai import responses

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 2, 3) + b"\x08\x02\x00\x00\x00crc!"
PICTURE = Image(PNG, "image/png")
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ANSWER = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
TOOLS = (Tool("weather", "Tells it.", CITY), Tool("time", "Also.", {"type": "object", "properties": {}}))

GOLDEN = Chat(
    model="m",
    messages=(
        Message("system", (Text("Be brief."),)),
        Message("user", (Text("Weather in Köln?"),)),
        Message(
            "assistant",
            (Reasoning("Hm."), Text("I look."), ToolCall("call_1", "weather", '{"city": "Köln"}')),
        ),
        Message("tool", (ToolResult("Rain.", "call_1", "weather"),)),
        Message("user", (Text("And here?"), PICTURE)),
    ),
    tools=TOOLS,
    tool_choice=ToolChoice("required", "weather"),
    parallel_tool_calls=False,
    format=Format("schema", ANSWER),
    sampling=Sampling(temperature=0.25, top_p=0.5, seed=7, max_tokens=64, stop=("END",)),
)

Json = dict[str, Any]


def _b64(image: Image) -> str:
    return base64.b64encode(image.data).decode()


def _url(image: Image | Remote) -> str:
    if isinstance(image, Remote):
        return image.url
    return f"data:{image.mime};base64,{_b64(image)}"


def _thought(message: Message) -> str | None:
    return "".join(part.text for part in message.parts if isinstance(part, Reasoning)) or None


def _known(**fields: Any) -> Json:
    return {name: value for name, value in fields.items() if value is not None}


def _sampling(chat: Chat, limit: str) -> Json:
    s = chat.sampling
    return _known(temperature=s.temperature, top_p=s.top_p, **{limit: s.max_tokens})


# OpenAI chat completions


def _openai_part(part: Any) -> Json:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    return {"type": "image_url", "image_url": {"url": _url(part)}}


def _openai_call(call: ToolCall) -> Json:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _openai_message(message: Message) -> Json:
    match message.parts:
        case (ToolResult(text, call_id),):
            return {"role": "tool", "tool_call_id": call_id, "content": text}
        case (Text(text),):
            return {"role": message.role, "content": text}
    if message.role == "assistant":
        calls = [_openai_call(part) for part in message.parts if isinstance(part, ToolCall)]
        said = {"role": "assistant", "content": message.text or None}
        return said | _known(tool_calls=calls or None, reasoning_content=_thought(message))
    return {"role": message.role, "content": [_openai_part(part) for part in message.parts]}


def _openai_tool(tool: Tool) -> Json:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def _openai_choice(choice: ToolChoice) -> Any:
    return {"type": "function", "function": {"name": choice.name}} if choice.name else choice.mode


def to_openai(chat: Chat) -> Json:
    schema = {"name": "s", "schema": chat.format.schema} if chat.format else None
    return {
        "model": chat.model,
        "messages": [_openai_message(message) for message in chat.messages],
        **_sampling(chat, "max_completion_tokens"),
        **_known(
            seed=chat.sampling.seed,
            stop=list(chat.sampling.stop) or None,
            parallel_tool_calls=chat.parallel_tool_calls,
            tools=[_openai_tool(tool) for tool in chat.tools] or None,
            tool_choice=_openai_choice(chat.tool_choice) if chat.tools else None,
            response_format={"type": "json_schema", "json_schema": schema} if schema else None,
        ),
    }


# OpenAI responses


def _responses_items(message: Message) -> list[Json]:
    before: list[Json] = []
    items: list[Json] = []
    content: list[Json] = []
    for part in message.parts:
        match part:
            case Text(text):
                kind = "output_text" if message.role == "assistant" else "input_text"
                content.append({"type": kind, "text": text})
            case Image() | Remote():
                content.append({"type": "input_image", "image_url": _url(part)})
            case Reasoning(text):
                before.append({"type": "reasoning", "summary": [{"type": "summary_text", "text": text}]})
            case ToolCall(call_id, name, arguments):
                items.append(
                    {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}
                )
            case ToolResult(text, call_id, images=images):
                seen = [{"type": "input_image", "image_url": _url(image)} for image in images]
                output = [{"type": "input_text", "text": text}, *seen] if seen else text
                items.append({"type": "function_call_output", "call_id": call_id, "output": output})
    said = [{"type": "message", "role": message.role, "content": content}] if content else []
    return before + said + items


def to_responses(chat: Chat) -> Json:
    system, *rest = chat.messages if chat.messages[0].role == "system" else (None, *chat.messages)
    choice = chat.tool_choice
    tools = [
        _known(type="function", name=t.name, description=t.description, parameters=t.parameters, strict=False)
        for t in chat.tools
    ]
    form = chat.format and {"type": "json_schema", "name": "s", "schema": chat.format.schema}
    return {
        "model": chat.model,
        "input": [item for message in rest for item in _responses_items(message)],
        **_sampling(chat, "max_output_tokens"),
        **_known(
            instructions=system.text if system else None,
            parallel_tool_calls=chat.parallel_tool_calls,
            tools=tools or None,
            tool_choice=({"type": "function", "name": choice.name} if choice.name else choice.mode)
            if tools
            else None,
            text={"format": form} if form else None,
        ),
    }


def from_responses(body: bytes) -> Chat:
    order = responses.decode_create(body)
    return order.compose([(f"input[{i}]", item) for i, item in enumerate(order.items)], {})


# Anthropic messages


def _anthropic_block(part: Any) -> Json:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Image(_, mime):
            source = {"type": "base64", "media_type": mime, "data": _b64(part)}
            return {"type": "image", "source": source}
        case Remote(url):
            return {"type": "image", "source": {"type": "url", "url": url}}
        case Reasoning(text):
            return {"type": "thinking", "thinking": text, "signature": "opaque"}
        case ToolCall(call_id, name, arguments):
            return {"type": "tool_use", "id": call_id, "name": name, "input": json.loads(arguments)}
        case ToolResult(text, call_id, images=images):
            seen = [_anthropic_block(image) for image in images]
            content = [{"type": "text", "text": text}, *seen] if seen else text
            return {"type": "tool_result", "tool_use_id": call_id, "content": content}
    raise AssertionError(part)


def _anthropic_choice(chat: Chat) -> Json:
    choice, alone = chat.tool_choice, chat.parallel_tool_calls is False
    kind = {"auto": "auto", "none": "none", "required": "any"}[choice.mode]
    named = {"type": "tool", "name": choice.name} if choice.name else {"type": kind}
    return named | ({"disable_parallel_tool_use": True} if alone else {})


def to_anthropic(chat: Chat) -> Json:
    system, *rest = chat.messages if chat.messages[0].role == "system" else (None, *chat.messages)
    turns: list[Json] = []
    for message in rest:
        role = "assistant" if message.role == "assistant" else "user"
        blocks = [_anthropic_block(part) for part in message.parts]
        if turns and turns[-1]["role"] == role:  # results stand in the turn of the user
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    tools = [{"name": t.name, "description": t.description, "input_schema": t.parameters} for t in chat.tools]
    form = chat.format and {"type": "json_schema", "schema": chat.format.schema}
    return {
        "model": chat.model,
        "messages": turns,
        **_sampling(chat, "max_tokens"),
        **_known(
            system=system.text if system else None,
            stop_sequences=list(chat.sampling.stop) or None,
            tools=tools or None,
            tool_choice=_anthropic_choice(chat) if tools else None,
            output_config={"format": form} if form else None,
        ),
    }


# Ollama chat


def _ollama_message(message: Message) -> Json:
    match message.parts:
        case (ToolResult(text, call_id, name),):
            return {"role": "tool", "tool_call_id": call_id, "tool_name": name, "content": text}
    calls = [
        {"id": part.id, "function": {"name": part.name, "arguments": json.loads(part.arguments)}}
        for part in message.parts
        if isinstance(part, ToolCall)
    ]
    images = [_b64(part) for part in message.parts if isinstance(part, Image)]
    said = {"role": message.role, "content": message.text}
    return said | _known(tool_calls=calls or None, images=images or None, thinking=_thought(message))


def to_ollama(chat: Chat) -> Json:
    s = chat.sampling
    return {
        "model": chat.model,
        "messages": [_ollama_message(message) for message in chat.messages],
        "options": _known(
            temperature=s.temperature,
            top_p=s.top_p,
            num_predict=s.max_tokens,
            seed=s.seed,
            stop=list(s.stop) or None,
        ),
        **_known(
            tools=[_openai_tool(tool) for tool in chat.tools] or None,
            tool_choice=_openai_choice(chat.tool_choice) if chat.tools else None,
            format=chat.format.schema if chat.format else None,
        ),
    }


@dataclass(frozen=True)
class Dialect:
    """``write`` a chat as a body, ``read`` it back; ``param`` is what names the schema. ``lacks``: fields of
    sampling without a word there; ``silence``: what its documentation makes of such that are left out.
    ``implied``: the same of other fields."""

    write: Callable[[Chat], Json]
    read: Callable[[bytes], Any]
    param: str
    lacks: tuple[str, ...] = ()
    silence: Json = field(default_factory=dict)
    implied: Json = field(default_factory=dict)

    def expected(self, chat: Chat, read: Chat) -> Chat:
        """``chat`` as this dialect can say it; defaults of sampling are the dialect's own affair."""
        unsaid = {name: Sampling.__dataclass_fields__[name].default for name in self.lacks}
        unsaid |= {name: v for name, v in self.silence.items() if getattr(chat.sampling, name) is None}
        sampling = replace(chat.sampling, fallback=read.sampling.fallback, **unsaid)
        form = replace(chat.format, param=self.param) if chat.format else None
        return replace(chat, sampling=sampling, format=form, **self.implied)


ONES = {"temperature": 1.0, "top_p": 1.0}
DIALECTS = {
    "openai": Dialect(
        to_openai,
        lambda body: openai.decode_chat(body).request,
        "response_format.json_schema.schema",
        silence=ONES,
    ),
    "responses": Dialect(to_responses, from_responses, "text.format.schema", ("stop", "seed"), ONES),
    "anthropic": Dialect(
        to_anthropic,
        lambda body: anthropic.decode_messages(body).request,
        "output_config.format.schema",
        ("seed",),
        implied={"think": False},  # thinking is off unless asked for
    ),
    "ollama": Dialect(
        to_ollama,
        lambda body: ollama.decode_chat(body).request,
        "format",
        # it cuts long prompts; has no such field; and whatever can think does
        implied={"truncate": True, "parallel_tool_calls": None, "think_wish": True},
    ),
}


def settled(chat: Chat) -> Chat:
    """In one spelling: arguments of calls, which two dialects carry as objects; no signature of a thought,
    which one has; no name of the field with an address; no empty text, as Ollama's clients send beside calls.
    """

    def part(one: Any) -> Any:
        match one:
            case ToolCall():
                return replace(one, arguments=json.dumps(json.loads(one.arguments), sort_keys=True))
            case Reasoning():
                return replace(one, signature="")
            case Remote():
                return replace(one, param="")
            case ToolResult():
                return replace(one, images=tuple(part(image) for image in one.images))
        return one

    messages = (replace(m, parts=tuple(part(p) for p in m.parts if p != Text(""))) for m in chat.messages)
    return replace(chat, messages=tuple(messages))


# any conversation

_WORDS = st.sampled_from(["Grüße", "<|im_end|>", "a\nb", '{"x": "\\"}', "👩‍👩‍👧", "[TOOL_CALLS]", "\u2028x"])
TEXTS = _WORDS | st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=12
)


@st.composite
def exchanges(draw: st.DrawFn, first: int) -> list[Message]:
    """A question; maybe calls with their results in any order, and maybe an answer."""
    asked: list[Any] = [Text(draw(TEXTS))] + [PICTURE] * draw(st.integers(0, 2))
    out = [Message("user", tuple(asked))]
    calls = [
        ToolCall(
            f"call_{first + i}", *draw(st.sampled_from([("time", "{}"), ("weather", '{"city": "Köln"}')]))
        )
        for i in range(draw(st.integers(0, 3)))
    ]
    if calls:
        said = [Reasoning(draw(TEXTS))] * draw(st.integers(0, 1)) + [Text(draw(TEXTS))] * draw(
            st.integers(0, 1)
        )
        out.append(Message("assistant", (*said, *calls)))
        for call in draw(st.permutations(calls)):
            out.append(Message("tool", (ToolResult(draw(TEXTS), call.id, call.name),)))
    return out


@st.composite
def chats(draw: st.DrawFn) -> Chat:
    messages = [Message("system", (Text(draw(TEXTS)),))] if draw(st.booleans()) else []
    for turn in range(draw(st.integers(1, 3))):
        if turn:
            thought = [Reasoning(draw(TEXTS))] * draw(st.integers(0, 1))
            messages.append(Message("assistant", (*thought, Text(draw(TEXTS)))))
        messages += draw(exchanges(10 * turn))
    called = any(isinstance(part, ToolCall) for message in messages for part in message.parts)
    tools = TOOLS if called or draw(st.booleans()) else ()
    choices = [ToolChoice(), ToolChoice("none"), ToolChoice("required"), ToolChoice("required", "time")]
    choice = draw(st.sampled_from(choices)) if tools else ToolChoice()
    return Chat(
        model=draw(st.sampled_from(["m", "hf.co/a/b:q4", "smollm2:135m"])),
        messages=tuple(messages),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=draw(st.sampled_from([None, False])) if tools and choice.mode != "none" else None,
        format=draw(st.none() | st.just(Format("schema", ANSWER))),
        sampling=Sampling(
            temperature=draw(st.none() | st.floats(0, 1)),
            top_p=draw(st.none() | st.floats(0.01, 1)),
            seed=draw(st.none() | st.integers(0, 2**31)),
            max_tokens=draw(st.integers(16, 4096)),
            stop=tuple(draw(st.lists(TEXTS, max_size=3, unique=True))),
        ),
    )
