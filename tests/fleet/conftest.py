"""A fleet of fake workers: real processes, a small engine over aiohttp."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from inhouse.core.engine import Launch
from inhouse.core.errors import EngineError, InhouseError, LoadFailed
from inhouse.core.events import ChoiceEnd, Event, Finished, TextDelta
from inhouse.core.journal import Record
from inhouse.core.messages import Message, Text
from inhouse.core.models import Card
from inhouse.core.requests import Ask, Chat, LoadOptions, Request
from inhouse.core.usage import Timings, Usage
from inhouse.engines.fake import FakeRecipe
from inhouse.fleet import Fleet, FleetSettings, Lease

try:
    import uvloop
except ImportError:
    uvloop = None

_BROKEN = (aiohttp.ClientError, ConnectionError)


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Any]:
    """The server runs on uvloop where there is one; a process has to work on both loops."""
    if uvloop is None:
        return {"asyncio": asyncio.new_event_loop}
    loops = {"uvloop": uvloop.new_event_loop}
    if "process" in item.nodeid:
        loops["asyncio"] = asyncio.new_event_loop
    return loops


class TinyEngine:
    """Chat only, text only."""

    def __init__(self, card: Card, launch: Launch) -> None:
        connector = aiohttp.UnixConnector(launch.address, force_close=True)
        self._session = aiohttp.ClientSession("http://worker", connector=connector)

    async def run(self, request: Request) -> AsyncGenerator[Event, None]:
        assert isinstance(request, Chat)
        messages = [{"role": m.role, "content": m.text} for m in request.messages]
        try:
            async with self._session.post("/v1/chat/completions", json={"messages": messages}) as answer:
                if answer.status != 200:
                    raise EngineError(await answer.text())
                async for line in answer.content:
                    if not line.startswith(b"data: {"):
                        continue
                    [choice] = json.loads(line[6:])["choices"]
                    if choice["finish_reason"]:
                        yield ChoiceEnd("stop")
                        yield Finished(Usage(), Timings())
                    elif text := choice["delta"].get("content"):
                        yield TextDelta(text)
        except _BROKEN as error:
            raise EngineError("the connection broke") from error

    async def slots(self) -> list[dict[str, Any]]:
        async with self._session.get("/slots") as answer:
            found: list[dict[str, Any]] = await answer.json()
            return found

    async def healthy(self, timeout: float) -> bool:
        try:
            async with asyncio.timeout(timeout), self._session.get("/health") as answer:
                return answer.status == 200
        except (*_BROKEN, TimeoutError, RuntimeError):
            return False

    async def close(self) -> None:
        await self._session.close()


def chat(text: str) -> Chat:
    return Chat(model="fake", messages=(Message("user", (Text(text),)),))


class Notes:
    """An observer that writes down what it hears."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, ...]] = []
        self.records: list[Record] = []
        self.sizes: list[int] = []

    def loaded(self, name: str, seconds: float) -> None:
        assert seconds > 0
        self.lines.append(("loaded", name))

    def evicted(self, name: str, why: str) -> None:
        self.lines.append(("evicted", name, why))

    def restarted(self, name: str) -> None:
        self.lines.append(("restarted", name))

    def record(self, record: Record) -> None:
        self.records.append(record)

    def measured(self, card: Card, launch: Launch, size: int) -> None:
        self.sizes.append(size)

    def of_kind(self, kind: str) -> list[Record]:
        return [record for record in self.records if record.kind == kind]


class Yard:
    """A fleet under test with what it takes to look at it. ``options`` are those of the fake engine;
    they may be changed between two starts."""

    def __init__(
        self,
        folder: Path,
        options: dict[str, Any],
        settings: FleetSettings,
        available: Callable[[int], int] | None = None,
    ) -> None:
        self.folder = folder
        self.options = options
        self.notes = Notes()
        self.launches: list[Launch] = []
        self.relaunches: list[Any] = []  # what is tried after a load that failed: options, an error or None
        self.revivals: list[Any] = []  # what is run after a worker that was ready died: the same three
        self.fleet = Fleet(
            launch=self._launch,
            relaunch=self._relaunch,
            connect=TinyEngine,
            settings=settings,
            observer=self.notes,
            available=available,
        )
        cards = {str(card.name): card for card in FakeRecipe({}).cards()}
        self.a, self.b, self.embed = (cards[f"{name}:latest"] for name in ("fake", "fake-b", "fake-embed"))

    def _launch(self, card: Card, load: LoadOptions) -> Launch:
        address = str(self.folder / f"{secrets.token_hex(4)}.sock")
        launch = FakeRecipe(self.options).launch(card, load, address=address, secret="")
        self.launches.append(launch)
        return launch

    def _relaunch(self, card: Card, load: LoadOptions, failed: Launch, error: InhouseError) -> Launch | None:
        plans = self.relaunches if isinstance(error, LoadFailed) else self.revivals
        plan = plans.pop(0) if plans else None
        if isinstance(plan, Exception):
            raise plan
        if plan is None:
            return None
        self.options = plan
        return self._launch(card, load)

    def lease(self, card: Card | None = None, *, context: int | None = None, **options: Any) -> Any:
        tenant = options.pop("tenant", "t")
        load = options.pop("load", LoadOptions(context_length=context))
        return self.fleet.lease(card or self.a, Ask(load=load, tenant=tenant, **options))

    async def ask(self, text: str = "hello", card: Card | None = None, **options: Any) -> str:
        """One whole request as the runtime would make it."""
        async with self.lease(card, **options) as lease:
            return await answer(lease, text)

    @property
    def pids(self) -> list[int]:
        return [one.pid for one in self.fleet.loaded() if one.pid is not None]


async def answer(lease: Lease, text: str) -> str:
    """The whole text; an error is explained by the lease."""
    out = ""
    try:
        async with aclosing(lease.engine.run(chat(text))) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    out += event.text
    except EngineError as error:
        raise await lease.explain(error) from error
    return out


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Poll until it holds; fails the test if it does not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.01)


def gone(pid: int) -> bool:
    """Neither running nor a zombie."""
    return not psutil.pid_exists(pid)


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A folder with a path short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="ih-"))
    yield folder
    shutil.rmtree(folder)


MakeYard = Callable[..., Yard]


@pytest.fixture
async def yard(sockets: Path, tmp_path: Path) -> AsyncIterator[MakeYard]:
    """Makes fleets; afterwards nothing of them may be left."""
    yards: list[Yard] = []
    others = set(psutil.Process().children())  # servers that other tests keep for the session

    def make(
        options: dict[str, Any] | None = None,
        available: Callable[[int], int] | None = None,
        **settings: Any,
    ) -> Yard:
        base = FleetSettings(log_dir=tmp_path / "logs", stop_grace=1.0, hang_timeout=5.0, patience=0.2)
        yards.append(Yard(sockets, options or {}, dataclasses.replace(base, **settings), available))
        return yards[-1]

    yield make
    for one in yards:
        await one.fleet.close()
        assert one.fleet.loaded() == []
    assert set(psutil.Process().children()) <= others
    assert list(sockets.iterdir()) == []
