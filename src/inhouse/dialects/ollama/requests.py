"""Bodies of Ollama's generating routes -> requests. Every refusal is a BadRequest."""

from __future__ import annotations

from ...core.errors import BadRequest
from ...core.json import parse
from ...core.messages import Message, Part, Sampling, Text
from ...core.requests import Chat, Complete, Embed, Load, LoadOptions, Request, Unload
from ..adapters import read_adapters
from ..codec import Decoded, rendering
from ..fields import INT32_MAX, Fields, check_whole
from .answers import Lines, Whole
from .embeddings import EmbedAnswer, EmbeddingAnswer, LoadAnswer, RenderAnswer
from .errors import NO_ROOM
from .formats import read_format
from .messages import (
    read_images,
    read_logprobs,
    read_messages,
    read_think,
    read_tool_choice,
    read_tools,
)
from .options import read_options
from .shapes import GenerateShape, Shape

MAX_INPUTS = 2048
MAX_TEMPLATE = 2**20


def read_body(body: bytes) -> Fields:
    """The JSON object of a body, which must not be empty."""
    if not body.strip():
        raise BadRequest("missing request body")
    return Fields(parse(body))


def read_model(fields: Fields) -> str:
    """``model``, or its old alias ``name``."""
    model = fields.text("model") or fields.text("name")
    if not model:
        raise BadRequest("model is required", param="model")
    return model


def _load_only(fields: Fields, model: str, shape: Shape, load: LoadOptions) -> Decoded:
    keep_alive = fields.duration("keep_alive")
    request: Request = Load(model=model, load=load, keep_alive=keep_alive)
    if keep_alive == 0:
        request = Unload(model=model, keep_alive=keep_alive)
    reason = "unload" if keep_alive == 0 else "load"
    return Decoded(request, LoadAnswer(model, shape, reason), fields.noted())


def _truncate(fields: Fields) -> bool:
    """Both ``truncate`` and ``shift`` ask for the whole prompt or a refusal when they are false."""
    truncate = fields.flag("truncate", True)
    return fields.flag("shift", True) and truncate


def decode_chat(body: bytes) -> Decoded:
    """POST /api/chat. Without messages it only loads the model, or unloads it with keep_alive 0."""
    fields = read_body(body)
    model = read_model(fields)
    load, sampling = read_options(fields)
    stream, render_only = fields.flag("stream", True), fields.flag("_debug_render_only", False)
    tools = read_tools(fields)
    request = Chat(
        model=model,
        load=load,
        keep_alive=fields.duration("keep_alive"),
        adapters=read_adapters(fields),
        messages=read_messages(fields),
        tools=tools,
        tool_choice=read_tool_choice(fields, tools),
        format=read_format(fields),
        sampling=sampling,
        logprobs=read_logprobs(fields),
        think=read_think(fields),
        think_wish=True,  # as in Ollama: whatever can think does, unless told not to
        think_budget=fields.whole("think_budget", 0, INT32_MAX),
        truncate=_truncate(fields),
    )
    if not request.messages:
        return _load_only(fields, model, Shape(), load)
    if render_only:
        return Decoded(rendering(request), RenderAnswer(model, Shape()), fields.noted())
    return Decoded(request, (Lines if stream else Whole)(model, Shape()), fields.noted())


def decode_generate(body: bytes) -> Decoded:
    """POST /api/generate: through the model's chat template or one of the request, raw, or filling in
    before a suffix.

    An empty prompt only loads or unloads; with a suffix it is a real one.
    """
    fields = read_body(body)
    model = read_model(fields)
    _refuse_in_generate(fields)
    load, sampling = read_options(fields)
    stream, render_only = fields.flag("stream", True), fields.flag("_debug_render_only", False)
    prompt = fields.text("prompt") or ""
    raw, suffix = fields.flag("raw", False), fields.text("suffix") or ""
    if raw or suffix:
        request: Chat | Complete = _complete(fields, model, load, sampling)
    else:
        request = _chat(fields, model, load, sampling)
    shape = GenerateShape(context=not raw and not suffix)
    if not prompt and not suffix:
        return _load_only(fields, model, shape, load)
    if render_only:
        if suffix:
            fields.refuse("_debug_render_only", why="What surrounds a gap is put together by the engine.")
        return Decoded(rendering(_as_chat(request)), RenderAnswer(model, shape), fields.noted())
    return Decoded(request, (Lines if stream else Whole)(model, shape), fields.noted())


def _as_chat(request: Chat | Complete) -> Chat:
    """A raw prompt as a chat that is rendered already."""
    if isinstance(request, Chat):
        return request
    prompt = str(request.prompts[0])
    message = Message("user", (Text(prompt),))
    return Chat(
        model=request.model,
        load=request.load,
        keep_alive=request.keep_alive,
        adapters=request.adapters,
        messages=(message,),
        prompt=prompt,
    )


def _refuse_in_generate(fields: Fields) -> None:
    for name in ("width", "height", "steps"):
        fields.refuse(name, why="image generation models are not currently supported")
    raw = fields.flag("raw", False)
    if raw and (fields.text("template") or fields.text("system") or fields.items("context", INT32_MAX)):
        raise BadRequest("raw mode does not support template, system, or context", param="raw")


def _complete(fields: Fields, model: str, load: LoadOptions, sampling: Sampling) -> Complete:
    why = "It has no place in a raw prompt or beside a suffix."
    fields.refuse("images", [], why=why)
    fields.refuse("system", "", why=why)
    fields.refuse("context", [], why=why)
    fields.refuse("think", False, why=why)
    fields.refuse("think_budget", why=why)
    suffix = fields.text("suffix") or None
    if suffix is not None:
        fields.refuse("raw", False, why="A suffix needs the model's own fill-in format.")
        fields.text("template")
        fields.refuse("template", "", why="A suffix needs the model's own fill-in format.")
    return Complete(
        model=model,
        load=load,
        keep_alive=fields.duration("keep_alive"),
        adapters=read_adapters(fields),
        prompts=(fields.text("prompt") or "",),
        suffix=suffix,
        format=read_format(fields),
        sampling=sampling,
        logprobs=read_logprobs(fields),
        truncate=_truncate(fields),
    )


def _chat(fields: Fields, model: str, load: LoadOptions, sampling: Sampling) -> Chat:
    system, template = fields.text("system"), fields.text("template", longest=MAX_TEMPLATE) or None
    if template is not None:
        fields.refuse("images", [], why="A template of the request has no place for them.")
    parts: tuple[Part, ...] = (Text(fields.text("prompt") or ""), *read_images(fields))
    messages = (Message("system", (Text(system),)),) if system else ()
    context = tuple(
        check_whole(f"context[{i}]", token, 0, INT32_MAX)
        for i, token in enumerate(fields.items("context", INT32_MAX) or ())
    )
    return Chat(
        model=model,
        load=load,
        keep_alive=fields.duration("keep_alive"),
        adapters=read_adapters(fields),
        messages=(*messages, Message("user", parts)),
        format=read_format(fields),
        sampling=sampling,
        logprobs=read_logprobs(fields),
        think=read_think(fields),
        think_wish=True,  # as in Ollama: whatever can think does, unless told not to
        think_budget=fields.whole("think_budget", 0, INT32_MAX),
        truncate=_truncate(fields),
        context=context or None,
        want_context=True,
        template=template,
    )


def decode_embed(body: bytes) -> Decoded:
    """POST /api/embed. An empty input only loads the model and gives no vectors.

    Here a context may be as small as one token, since it says how much of an input is read.
    """
    fields = read_body(body)
    model = read_model(fields)
    load, _ = read_options(fields, least=1)
    inputs = _inputs(fields)
    if inputs and (fields.object("options") or {}).get("num_ctx") == 0:
        raise BadRequest(NO_ROOM, param="options.num_ctx")
    keep_alive = fields.duration("keep_alive")
    dimensions = fields.whole("dimensions", 0, INT32_MAX) or None
    truncate = fields.flag("truncate", True)
    request: Request = Load(model=model, load=load, keep_alive=keep_alive)
    if inputs:
        request = Embed(
            model=model,
            load=load,
            keep_alive=keep_alive,
            adapters=read_adapters(fields),
            inputs=inputs,
            dimensions=dimensions,
            truncate=truncate,
        )
    return Decoded(request, EmbedAnswer(model, len(inputs)), fields.noted())


def _inputs(fields: Fields) -> tuple[str, ...]:
    value = fields.get("input")
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise BadRequest("invalid input type", param="input")
    return tuple(fields.items("input", MAX_INPUTS) or ())


def decode_embeddings(body: bytes) -> Decoded:
    """POST /api/embeddings, the old route: one prompt, one vector."""
    fields = read_body(body)
    model = read_model(fields)
    load, _ = read_options(fields)
    prompt = fields.text("prompt")
    keep_alive = fields.duration("keep_alive")
    if not prompt:
        request: Request = Load(model=model, load=load, keep_alive=keep_alive)
        return Decoded(request, EmbeddingAnswer(model, 0), fields.noted())
    request = Embed(
        model=model,
        load=load,
        keep_alive=keep_alive,
        adapters=read_adapters(fields),
        inputs=(prompt,),
        truncate=True,
    )
    return Decoded(request, EmbeddingAnswer(model, 1), fields.noted())
