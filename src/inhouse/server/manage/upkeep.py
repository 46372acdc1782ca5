"""Looking after the store: what is where, what can go, what is locked, what follows what."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from ...core.models import ModelName
from ...dialects import inhouse, ollama
from ...store.locks import shareable
from ...store.sources import kind_of
from .. import answers
from ..answers import Receive, Scope, Send
from .models import answered

if TYPE_CHECKING:
    from .services import Services

Work = Callable[["Services", bytes], Any]


class Prompts(Protocol):
    """Prompts that workers saved on disk; calls block. Both raise StoreError."""

    def sizes(self) -> tuple[int, int]:
        """Bytes of all, and of those whose model is gone."""
        ...

    def prune(self, *, dry_run: bool, everything: bool) -> int:
        """Delete those whose model is gone, or ``everything``; the bytes freed."""
        ...


class Question:
    """An endpoint that answers a small JSON body with a small JSON document, made in a thread."""

    def __init__(self, work: Work) -> None:
        self._work = work

    async def __call__(self, services: Services, scope: Scope, receive: Receive, send: Send) -> None:
        body = await answers.body(scope, receive, services.config.server.max_body)

        async def work() -> bytes:
            return msgspec.json.encode(await asyncio.to_thread(self._work, services, body))

        await answered(scope, send, work(), ollama.render_error)


async def foreign(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """Models in other programs' stores; only the user of this machine learns their paths."""
    paths = services.trusts(scope)

    def names() -> bytes:
        found = services.store.foreign()
        models = [
            {"program": one.program, "name": one.text, "size": one.size, "modified_at": one.modified_at}
            for one in found
            if paths or kind_of(one.text) != "file"
        ]
        return msgspec.json.encode({"models": models})

    await answered(scope, send, asyncio.to_thread(names), ollama.render_error)


def _resolved(services: Services, text: str) -> ModelName:
    return services.catalog.resolve(text).name


def _disk(services: Services, body: bytes) -> Any:
    prompts, gone = services.prompts.sizes()
    return {**asdict(services.store.disk()), "prompts": prompts, "prompts_unused": gone}


def _prune(services: Services, body: bytes) -> Any:
    asked = inhouse.decode_prune(body)
    freed = services.store.prune(dry_run=asked.dry_run, everything=asked.everything)
    prompts = services.prompts.prune(dry_run=asked.dry_run, everything=asked.everything)
    total = freed.total + prompts
    return {**asdict(freed), "prompts": prompts, "total": total, "dry_run": asked.dry_run}


def _lock(services: Services, body: bytes) -> Any:
    return services.store.lock([_resolved(services, text) for text in inhouse.decode_models(body)])


def _check_lock(services: Services, body: bytes) -> Any:
    return {"differences": services.store.check_lock(inhouse.decode_lock(body))}


def _diff(services: Services, body: bytes) -> Any:
    asked = inhouse.decode_diff(body)
    other = _resolved(services, asked.other) if asked.other else None
    return services.store.diff(_resolved(services, asked.model), other)


def _alias(services: Services, body: bytes) -> Any:
    name, model = inhouse.decode_alias(body)
    followed = services.store.alias(ModelName.parse(name), _resolved(services, model))
    return {"name": str(ModelName.parse(name)), "model": str(followed)}


def _rollback(services: Services, body: bytes) -> Any:
    card = services.store.rollback(_resolved(services, ollama.decode_name(body)))
    return {"model": str(card.name), "digest": card.digest, "origin": shareable(card.origin)}


disk, prune = Question(_disk), Question(_prune)
lock, check_lock, diff = Question(_lock), Question(_check_lock), Question(_diff)
alias, rollback = Question(_alias), Question(_rollback)
