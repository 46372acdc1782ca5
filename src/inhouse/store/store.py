"""The store: names, cards and weights on disk, and all ways in and out. A facade over its parts."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..core.create import Create
from ..core.errors import BadRequest, Cancelled, InhouseError, NoSpace, Unsupported
from ..core.models import Card, ModelName
from . import foreign, manifest, sources
from .bundles import Export, Import, Readable
from .creating import Creator
from .foreign import Found
from .gguf_facts import tensors, whole_metadata
from .layout import SLACK, Layout, guarded
from .locks import Locks
from .oci.push import push
from .pulling import Job
from .pulls import Order, Puller
from .records import Records
from .reworking import Workshop, steps
from .sources import Policy, PullEvent, Texts, Watch
from .upkeep import Disk, Problem, Pruned, Upkeep

QUIET = Watch(lambda event: None)


class Store:
    """Models under ``<home>/models``. Sync methods block (small files only); jobs run in threads.

    A job is an async generator of PullEvents that ends with the status ``success``; closing it stops
    the work when nobody else listens. Raises StoreError where the folder cannot be used; a folder that
    is not there yet is an empty store. ``workshop`` changes weights; ``build`` names the engine for lock
    files; ``environ`` tells where other programs keep models.
    """

    def __init__(
        self,
        home: Path,
        *,
        policy: Policy | None = None,
        workshop: Workshop | None = None,
        build: str = "",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.layout = Layout(home)
        self.policy = policy or Policy()
        self._records = Records(self.layout)
        self._puller = Puller(self.layout, self._records)
        self._creator = Creator(self.layout, self._records, workshop, self._base)
        self._workshop = workshop
        self._upkeep = Upkeep(self.layout, self._records)
        self._locks = Locks(self._records, build)
        self._environ = os.environ if environ is None else environ
        self._jobs: dict[tuple[str, ...], Job] = {}
        self.layout.sweep()

    # -- reading ------------------------------------------------------------------------------

    def cards(self) -> list[Card]:
        """Every complete model and alias, newest first."""
        return self._records.cards()

    @property
    def changes(self) -> int:
        """Another number once this process has changed what is here. Not blocking."""
        return self.layout.changes

    def get(self, name: ModelName) -> Card:
        """The card of a name in any case. Raises ModelNotFound, or StoreError if it is damaged."""
        return self._records.get(name)

    @staticmethod
    def name_of(text: str) -> ModelName:
        """The name that a model name or source text is stored under. Raises BadRequest, InvalidName."""
        return sources.name_of(text)

    def is_alias(self, name: ModelName) -> bool:
        """Whether a name only follows another model."""
        record = self._records.read(self.layout.manifest(name))
        return record is not None and record.alias is not None

    def check(self, card: Card) -> None:
        """Before a load: are its files still those that were verified? Raises StoreError, DigestMismatch."""
        self._upkeep.check(card)

    @staticmethod
    def tensors(card: Card) -> list[dict[str, Any]]:
        """The tensor table of a model: ``name``, ``type``, ``shape`` and more. Reads the files."""
        paths = [Path(file.path) for file in card.of_role("model")]
        return [row._asdict() for row in tensors(paths)] if paths else []

    @staticmethod
    def metadata(card: Card) -> Mapping[str, Any]:
        """What the header of a model says, its long arrays too. Reads the files."""
        paths = [Path(file.path) for file in card.of_role("model")]
        return whole_metadata(paths) if paths else card.metadata

    def written_template(self, card: Card) -> str:
        """A model's own template as it was written, Go or Jinja; "" if it has none."""
        record = self._records.find(card.name)
        if record is None:
            return ""
        inner = manifest.read(record.named)
        return inner.written_template or inner.template

    def foreign(self) -> list[Found]:
        """Models in other programs' stores on this machine."""
        return foreign.scan(self._environ, Path.home())

    def problems(self, watch: Watch = QUIET) -> list[Problem]:
        """Hash every file and read every manifest: what is not as it should be. Seconds per gigabyte."""
        return self._upkeep.verify(watch)

    def disk(self) -> Disk:
        """How much is where."""
        return self._upkeep.disk()

    # -- changing -----------------------------------------------------------------------------

    def remove(self, name: ModelName) -> None:
        """Forget a name; blobs that no name refers to are deleted. Raises ModelNotFound."""
        self._records.remove(name)

    def copy(self, src: ModelName, dst: ModelName) -> None:
        """Give a model a second name; it shares the weights. An existing ``dst`` is replaced."""
        self._records.copy(src, dst)

    def alias(self, name: ModelName, target: ModelName) -> ModelName:
        """Let a name follow another model. Raises ModelNotFound, Conflict."""
        return self._records.alias(name, target)

    def rollback(self, name: ModelName) -> Card:
        """Back to what the name stood for before. Raises ModelNotFound, Conflict."""
        return self._records.rollback(name)

    def prune(self, *, dry_run: bool = False, everything: bool = False) -> Pruned:
        """Delete what no name needs. Returns the bytes freed."""
        return self._upkeep.prune(dry_run=dry_run, everything=everything)

    # -- identity -----------------------------------------------------------------------------

    def lock(self, names: list[ModelName]) -> dict[str, Any]:
        """The contents of a lock file."""
        return self._locks.lock(names)

    def check_lock(self, locked: Mapping[str, Any]) -> list[dict[str, str]]:
        """What of a lock file is not so here."""
        return self._locks.check(locked)

    def diff(self, first: ModelName, second: ModelName | None) -> dict[str, Any]:
        """What changes from one model to another, or from its previous version to it."""
        return self._locks.diff(first, second)

    # -- blobs and bundles --------------------------------------------------------------------

    def has_blob(self, digest: str) -> bool:
        """Whether a blob is here. Raises BadRequest for what is no digest."""
        return self.layout.has(digest)

    def receive(self, digest: str, stream: Readable) -> bool:
        """Store an upload under its digest; False if it was here already (it is read all the same).

        Raises BadRequest when the bytes have another digest, NoSpace.
        """
        here = self.layout.has(digest)
        self.layout.prepare()
        if here:
            while stream.read(2**20):  # a body that nobody reads would look to its sender like a failure
                pass
            return False
        found = sha256()
        with self.layout.workspace() as folder, guarded("storing an upload"):
            temp = folder / "blob"
            with temp.open("xb") as out:
                while chunk := stream.read(2**20):
                    if len(chunk) + SLACK > self.layout.free():
                        raise NoSpace("The disk is full.", hint="Free some space: inhouse prune")
                    found.update(chunk)
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
            if f"sha256:{found.hexdigest()}" != digest:
                raise BadRequest(
                    f'digest mismatch, expected "{digest}", got "sha256:{found.hexdigest()}"',
                    hint="Send the bytes that have this digest.",
                )
            with self.layout.lock():
                self.layout.adopt(temp, digest)
        return True

    def export(self, names: list[ModelName]) -> Export:
        """A bundle of some models. Raises ModelNotFound, StoreError."""
        return Export(self._records, [self.get(name) for name in names])

    def import_bundle(self, stream: Readable, *, seal: str = "") -> list[Card]:
        """Store the models of a bundle; blocking. See ``bundles.Import``."""
        return Import(self.layout, self._records).run(stream, QUIET, seal=seal)

    # -- jobs ---------------------------------------------------------------------------------

    def watcher(
        self, *, trusted: bool = False, insecure: bool = False, fresh: bool = False
    ) -> Callable[[Callable[[PullEvent], None]], Watch]:
        """Makes the Watch of a job. See ``sources.base.Watch``."""
        return lambda emit: Watch(emit, self.policy, trusted=trusted, insecure=insecure, fresh=fresh)

    async def pull(
        self,
        text: str,
        *,
        trusted: bool = False,
        insecure: bool = False,
        fresh: bool = False,
        own_template: bool = True,
    ) -> AsyncGenerator[PullEvent, None]:
        """Bring a model in by name or source. Concurrent pulls of one model are one download.

        Raises InvalidName, ModelNotFound, Unsupported, SourceFailed, DigestMismatch, NoSpace,
        Forbidden, BadRequest (not a usable model file), StoreError.
        """
        order = replace(self._puller.order(text), own_template=own_template)
        key = (*order.name.key, str(trusted), str(insecure), str(fresh), str(own_template))
        job = self._jobs.get(key)
        while job is not None and job.stopping:
            await job.finished.wait()
            if self._jobs.get(key) is job:
                del self._jobs[key]
            job = self._jobs.get(key)
        if job is None:
            make = self.watcher(trusted=trusted, insecure=insecure, fresh=fresh)
            job = self._jobs[key] = Job(lambda watch: self._pulled(order, watch), make)
        async with aclosing(job.follow()) as events:
            async for event in events:
                yield event

    def _pulled(self, order: Order, watch: Watch) -> None:
        card = self._puller.pull(order, watch)
        watch.say(PullEvent("success", result={"model": str(card.name)}))

    def _base(self, text: str, watch: Watch) -> Card:
        return self._puller.pull(self._puller.order(text), watch)

    async def create(self, order: Create, *, trusted: bool = False) -> AsyncGenerator[PullEvent, None]:
        """Make a model. Raises BadRequest, Unsupported and what a pull of its base does."""

        def work(watch: Watch) -> None:
            card = self._creator.create(order, watch)
            watch.say(PullEvent("success", result={"model": str(card.name)}))

        async for event in self._alone(work, trusted=trusted):
            yield event

    async def push(
        self, name: ModelName, target: str, *, trusted: bool = False, insecure: bool = False
    ) -> AsyncGenerator[PullEvent, None]:
        """Send a model to a registry. ``target``: a source text of kind registry."""
        card = self.get(name)
        if sources.kind_of(target) != "registry":
            raise BadRequest(
                "That is no registry to push to.",
                hint="Write host/namespace/name:tag, ollama:namespace/name or oci://registry/name:tag.",
                param="model",
            )
        ref = sources.parse(target)
        texts = Texts(
            self.written_template(card), card.system, card.licence, card.messages, dict(card.defaults)
        )

        def work(watch: Watch) -> None:
            self.check(card)
            push(card, ref, texts, watch)

        async for event in self._alone(work, trusted=trusted, insecure=insecure):
            yield event

    async def verify(self, *, repair: bool = False, trusted: bool = False) -> AsyncGenerator[PullEvent, None]:
        """Hash every file; the last event's result lists the problems. ``repair`` pulls damaged models
        again from their sources."""

        def work(watch: Watch) -> None:
            problems = self.problems(watch)
            if repair and problems:
                self._repair(problems, watch)
                problems = self.problems(watch)
            watch.say(PullEvent("success", result=[asdict(problem) for problem in problems]))

        async for event in self._alone(work, trusted=trusted):
            yield event

    def _repair(self, problems: list[Problem], watch: Watch) -> None:
        """Pull damaged models again. A damaged file goes only when a sound one has come: what cannot be
        had again may still be worth something."""
        for problem in problems:
            record = self._records.find(ModelName.parse(problem.model)) if problem.digest else None
            if record is None or not record.named.source or self._upkeep.is_sound(problem.digest):
                continue
            watch.say(PullEvent(f"repairing {problem.model}"))
            with self._upkeep.set_aside(problem.digest):
                try:
                    order = self._puller.order(record.named.source)
                    self._puller.pull(replace(order, name=ModelName.parse(problem.model)), watch)
                except (Cancelled, NoSpace):
                    raise
                except InhouseError as error:
                    watch.say(PullEvent(f"{problem.model} cannot be repaired: {error.message}"))

    async def install(self) -> AsyncGenerator[PullEvent, None]:
        """Fetch and install the converter of safetensors models. Raises Unsupported."""
        shop = self._workshop
        if shop is None:
            raise Unsupported("This server has no converter to install.", hint="Convert elsewhere.")

        def work(watch: Watch) -> None:
            shop.install(watch, steps("installing the converter", watch))
            watch.say(PullEvent("success"))

        async for event in self._alone(work, trusted=True):
            yield event

    async def outdated(
        self, names: list[ModelName], *, trusted: bool = False
    ) -> AsyncGenerator[PullEvent, None]:
        """Ask the sources for something newer; the last event's result lists the models."""

        def work(watch: Watch) -> None:
            watch.say(PullEvent("success", result=self._locks.outdated(names, watch)))

        async for event in self._alone(work, trusted=trusted, fresh=True):
            yield event

    async def _alone(self, work: Callable[[Watch], None], **how: bool) -> AsyncGenerator[PullEvent, None]:
        """A job that nobody else joins."""
        # Jobs that were left early end by themselves; close() waits for those under way.
        self._jobs = {key: job for key, job in self._jobs.items() if not job.finished.is_set()}
        job = self._jobs[(secrets.token_hex(8),)] = Job(work, self.watcher(**how))
        async with aclosing(job.follow()) as events:
            async for event in events:
                yield event

    async def close(self) -> None:
        """Stop all jobs and wait until their programs are gone. Idempotent."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.stop()
        await asyncio.gather(*(job.finished.wait() for job in jobs))


__all__ = ["Problem", "PullEvent", "Store"]
