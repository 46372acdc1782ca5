"""The table of routes: each row a method, a path, an endpoint and what the reference says of it."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ..dialects import anthropic, ollama, openai, tasks
from .answers import Receive, Scope, Send
from .documents import docs_page, openapi_document
from .generate import Generate
from .health import health, metrics, root
from .kept import completions, conversations, files, responses
from .manage import (
    bench,
    engines,
    events,
    hardware,
    jobs,
    models,
    ollama_rest,
    planning,
    state,
    tune,
    upkeep,
    uploads,
    why,
)

if TYPE_CHECKING:
    from .manage.services import Services


class Endpoint(Protocol):
    def __call__(self, services: Services, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]: ...


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. ``body`` names the schema of the request in the OpenAPI document,
    ``stream`` the media type of a streamed answer, ``upload`` that of a body
    that is no JSON and of any length. ``{name}`` in a path is one segment, ``{name:path}`` the rest."""

    methods: tuple[str, ...]
    path: str
    endpoint: Endpoint
    group: str
    summary: str
    body: str = ""
    stream: str = ""
    upload: str = ""


_READ = ("GET", "HEAD")
_SSE = "text/event-stream"
_NDJSON = "application/x-ndjson"
_OCTETS = "application/octet-stream"


def _openai(decode: str) -> Generate:
    return Generate("openai", getattr(openai, decode), openai.render_error)


_CHAT = Generate("openai", openai.decode_chat, openai.render_error, run=completions.run_chat)


def _anthropic(decode: str) -> Generate:
    render, inspect = anthropic.render_error, anthropic.check_headers
    return Generate("anthropic", getattr(anthropic, decode), render, inspect)


def _tasks(decode: str, *paths: str, summary: str, body: str) -> tuple[Row, ...]:
    """One endpoint under all its paths. Conversations are read as OpenAI's, and so are errors written."""
    read = getattr(tasks, decode)
    if decode in ("decode_tokenize", "decode_apply_template"):
        read = partial(read, read_chat=openai.decode_chat)
    endpoint = Generate("tasks", read, openai.render_error)
    return tuple(Row(("POST",), path, endpoint, "Tasks", summary, body) for path in paths)


def _ollama(decode: str) -> Generate:
    render = partial(ollama.render_error, route=decode.removeprefix("decode_"))
    return Generate("ollama", getattr(ollama, decode), render)


ROUTES: tuple[Row, ...] = (
    Row(("POST",), "/v1/chat/completions", _CHAT, "OpenAI", "Chat completion", "Chat", _SSE),
    Row(_READ, "/v1/chat/completions", completions.listed, "OpenAI", "List kept chat completions"),
    Row(_READ, "/v1/chat/completions/{id}", completions.one, "OpenAI", "A kept chat completion"),
    Row(
        ("POST",),
        "/v1/chat/completions/{id}",
        completions.update,
        "OpenAI",
        "Change its metadata",
        "Metadata",
    ),
    Row(("DELETE",), "/v1/chat/completions/{id}", completions.delete, "OpenAI", "Delete it"),
    Row(
        _READ, "/v1/chat/completions/{id}/messages", completions.messages, "OpenAI", "Messages of its request"
    ),
    Row(
        ("POST",),
        "/v1/completions",
        _openai("decode_completions"),
        "OpenAI",
        "Text completion",
        "Completion",
        _SSE,
    ),
    Row(("POST",), "/v1/embeddings", _openai("decode_embeddings"), "OpenAI", "Embeddings", "Embedding"),
    Row(("POST",), "/v1/responses", responses.create, "OpenAI", "Response", "Response", _SSE),
    Row(
        ("POST",),
        "/v1/responses/input_tokens",
        responses.input_tokens,
        "OpenAI",
        "Tokens of a response's prompt",
        "ResponseCount",
    ),
    Row(("POST",), "/v1/responses/compact", responses.compact, "OpenAI", "Refused"),
    Row(_READ, "/v1/responses/{id}", responses.retrieve, "OpenAI", "A kept response", stream=_SSE),
    Row(("DELETE",), "/v1/responses/{id}", responses.delete, "OpenAI", "Delete a response"),
    Row(("POST",), "/v1/responses/{id}/cancel", responses.cancel, "OpenAI", "Stop a background response"),
    Row(_READ, "/v1/responses/{id}/input_items", responses.input_items, "OpenAI", "What it was made from"),
    Row(("POST",), "/v1/conversations", conversations.create, "OpenAI", "New conversation", "Conversation"),
    Row(_READ, "/v1/conversations/{id}", conversations.retrieve, "OpenAI", "A conversation"),
    Row(
        ("POST",),
        "/v1/conversations/{id}",
        conversations.update,
        "OpenAI",
        "Change its metadata",
        "ConversationUpdate",
    ),
    Row(("DELETE",), "/v1/conversations/{id}", conversations.delete, "OpenAI", "Delete a conversation"),
    Row(_READ, "/v1/conversations/{id}/items", conversations.list_items, "OpenAI", "Its items"),
    Row(
        ("POST",),
        "/v1/conversations/{id}/items",
        conversations.add_items,
        "OpenAI",
        "Add items to it",
        "ConversationItems",
    ),
    Row(_READ, "/v1/conversations/{id}/items/{item}", conversations.retrieve_item, "OpenAI", "One item"),
    Row(
        ("DELETE",),
        "/v1/conversations/{id}/items/{item}",
        conversations.delete_item,
        "OpenAI",
        "Delete an item",
    ),
    Row(("POST",), "/v1/files", files.upload, "OpenAI", "Upload a file", upload="multipart/form-data"),
    Row(_READ, "/v1/files", files.listed, "OpenAI", "List files"),
    Row(_READ, "/v1/files/{id}", files.one, "OpenAI", "One file"),
    Row(("DELETE",), "/v1/files/{id}", files.delete, "OpenAI", "Delete a file"),
    Row(_READ, "/v1/files/{id}/content", files.content, "OpenAI", "The bytes of a file"),
    Row(_READ, "/v1/models", models.listed, "OpenAI", "List models, in the shape of the client's API"),
    Row(_READ, "/v1/models/{model:path}", models.one, "OpenAI", "One model"),
    Row(("POST",), "/v1/messages", _anthropic("decode_messages"), "Anthropic", "Message", "Message", _SSE),
    Row(
        ("POST",),
        "/v1/messages/count_tokens",
        _anthropic("decode_count_tokens"),
        "Anthropic",
        "Tokens of a message's prompt",
        "MessageCount",
    ),
    *_tasks("decode_rerank", "/v1/rerank", "/rerank", summary="Rank documents", body="Rerank"),
    *_tasks("decode_rerank_v2", "/v2/rerank", summary="Rank documents (Cohere)", body="RerankV2"),
    *_tasks("decode_score", "/v1/score", "/score", summary="Score pairs of texts", body="Score"),
    *_tasks("decode_tokenize", "/v1/tokenize", "/tokenize", summary="Token ids", body="Tokenize"),
    *_tasks("decode_detokenize", "/v1/detokenize", "/detokenize", summary="Text of ids", body="Detokenize"),
    *_tasks("decode_apply_template", "/apply-template", summary="Prompt of a chat", body="ApplyTemplate"),
    Row(("POST",), "/api/chat", _ollama("decode_chat"), "Ollama", "Chat", "OllamaChat", _NDJSON),
    Row(
        ("POST",),
        "/api/generate",
        _ollama("decode_generate"),
        "Ollama",
        "Generate",
        "OllamaGenerate",
        _NDJSON,
    ),
    Row(("POST",), "/api/embed", _ollama("decode_embed"), "Ollama", "Embeddings", "OllamaEmbed"),
    Row(
        ("POST",),
        "/api/embeddings",
        _ollama("decode_embeddings"),
        "Ollama",
        "One embedding (old form)",
        "OllamaEmbeddings",
    ),
    Row(_READ, "/api/tags", models.tags, "Ollama", "List models"),
    Row(("POST",), "/api/show", models.show, "Ollama", "Facts of a model", "OllamaShow"),
    Row(_READ, "/api/ps", state.ps, "Ollama", "Loaded models"),
    Row(("POST",), "/api/pull", jobs.pull, "Ollama", "Pull a model", "OllamaPull", _NDJSON),
    Row(("POST",), "/api/push", jobs.push, "Ollama", "Push a model to a registry", "OllamaPush", _NDJSON),
    Row(("POST",), "/api/create", jobs.create, "Ollama", "Create a model", "OllamaCreate", _NDJSON),
    Row(
        ("HEAD", "POST"),
        "/api/blobs/{digest:path}",
        uploads.blob,
        "Ollama",
        "Whether a blob is here; upload it",
        upload=_OCTETS,
    ),
    Row(("POST",), "/api/copy", models.copy, "Ollama", "Copy a model", "OllamaCopy"),
    Row(("DELETE",), "/api/delete", models.delete, "Ollama", "Delete a model", "OllamaName"),
    Row(_READ, "/api/version", state.version, "Ollama", "Version"),
    Row(_READ, "/api/status", ollama_rest.status, "Ollama", "That there is no cloud here"),
    Row(("POST",), "/api/me", ollama_rest.account, "Ollama", "The account at ollama.com: there is none"),
    Row(("POST",), "/api/signout", ollama_rest.signout, "Ollama", "The same"),
    Row(("DELETE",), "/api/user/keys/{key}", ollama_rest.signout, "Ollama", "The same, old form"),
    Row(("POST",), "/api/experimental/web_search", ollama_rest.web_search, "Ollama", "Refused"),
    Row(("POST",), "/api/experimental/web_fetch", ollama_rest.web_fetch, "Ollama", "Refused"),
    Row(
        _READ,
        "/api/experimental/model-recommendations",
        ollama_rest.recommendations,
        "Ollama",
        "ollama.com's recommendations: none",
    ),
    Row(_READ, "/api/machine", hardware.machine, "Inhouse", "Hardware, engines and findings"),
    Row(("POST",), "/api/machine/measure", hardware.measure, "Inhouse", "The same, memory measured"),
    Row(("POST",), "/api/plan", planning.plan, "Inhouse", "What a model takes and how fast it is", "Plan"),
    Row(_READ, "/api/events", events.events, "Inhouse", "What happened, and why", stream=_NDJSON),
    Row(_READ, "/api/why", why.listed, "Inhouse", "The latest or the slowest requests"),
    Row(_READ, "/api/why/{id}", why.one, "Inhouse", "Where the time of a request went"),
    Row(_READ, "/api/engines", engines.listed, "Inhouse", "Builds of engines, installed and to be had"),
    Row(
        ("POST",),
        "/api/engines/install",
        engines.install,
        "Inhouse",
        "Install a build",
        "EngineInstall",
        _NDJSON,
    ),
    Row(
        ("POST",), "/api/engines/build", engines.build, "Inhouse", "Compile one here", "EngineBuild", _NDJSON
    ),
    Row(("POST",), "/api/engines/bench", engines.bench, "Inhouse", "Measure builds", "EngineBench", _NDJSON),
    Row(("POST",), "/api/engines/use", engines.use, "Inhouse", "Choose a build", "EngineName"),
    Row(("POST",), "/api/engines/remove", engines.remove, "Inhouse", "Remove a build", "EngineRemove"),
    Row(("POST",), "/api/bench", bench.bench, "Inhouse", "Measure how fast a model is", "Bench", _NDJSON),
    Row(("POST",), "/api/tune", tune.tune, "Inhouse", "Find what runs a model best here", "Tune", _NDJSON),
    Row(("POST",), "/api/tune/show", tune.shown, "Inhouse", "What was found for a model", "OllamaName"),
    Row(("POST",), "/api/tune/forget", tune.forget, "Inhouse", "Forget what was found", "OllamaName"),
    Row(_READ, "/api/store", upkeep.disk, "Inhouse", "How much space which model takes"),
    Row(_READ, "/api/foreign", upkeep.foreign, "Inhouse", "Models in other programs' stores"),
    Row(("POST",), "/api/alias", upkeep.alias, "Inhouse", "A name that follows a model", "Alias"),
    Row(("POST",), "/api/rollback", upkeep.rollback, "Inhouse", "Back to the version before", "OllamaName"),
    Row(("POST",), "/api/prune", upkeep.prune, "Inhouse", "Delete what no name needs", "Prune"),
    Row(("POST",), "/api/verify", jobs.verify, "Inhouse", "Hash every file again", "Verify", _NDJSON),
    Row(("POST",), "/api/lock", upkeep.lock, "Inhouse", "The contents of a models.lock", "Models"),
    Row(("POST",), "/api/lock/check", upkeep.check_lock, "Inhouse", "Hold the store to a lock", "Lock"),
    Row(("POST",), "/api/diff", upkeep.diff, "Inhouse", "What changes between two models", "Diff"),
    Row(("POST",), "/api/outdated", jobs.outdated, "Inhouse", "What has newer versions", "Models", _NDJSON),
    Row(("POST",), "/api/converter", jobs.install, "Inhouse", "Install the converter", "", _NDJSON),
    Row(("POST",), "/api/export", uploads.give_bundle, "Inhouse", "Models as one sealed bundle", "Models"),
    Row(("POST",), "/api/import", uploads.take_bundle, "Inhouse", "Import a bundle", "", "", _OCTETS),
    Row(_READ, "/health", health, "Inhouse", "Liveness; needs no key"),
    Row(_READ, "/metrics", metrics, "Inhouse", "Prometheus metrics"),
    Row(_READ, "/docs", docs_page, "Inhouse", "This reference as a page"),
    Row(_READ, "/openapi.json", openapi_document, "Inhouse", "This reference as an OpenAPI document"),
    Row(_READ, "/", root, "Inhouse", "Says that the server runs"),
)
