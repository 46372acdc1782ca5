"""``s3://bucket/folder/file.gguf[#sha256=<64 hex>]``: object storage through fsspec and s3fs (extra ``s3``).

Keys, region and endpoint come from where every AWS program has them: AWS_ACCESS_KEY_ID, AWS_PROFILE,
AWS_ENDPOINT_URL, ``~/.aws``, the machine's role. Objects are read in parallel ranges and resumed.
"""

from __future__ import annotations

import importlib
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ...core.errors import BadRequest, ModelNotFound, SourceFailed, Unsupported
from ...net.line import Broken
from ...net.reader import Changed, Facts, Tick
from ...net.transfer import remaining, transfer
from .base import Asset, Got, Listing, Ref, Watch
from .web import file_name, name_of, pinned, siblings

SCHEME: Final = "s3://"
BLOCK: Final = 2**22
"""Bytes asked for at once."""
SLICE: Final = 0.1
VERSIONS: Final = ("ETag", "etag", "VersionId", "LastModified", "mtime", "created")

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


def s3() -> Any:
    """The file system of s3fs. Raises Unsupported where it is not installed."""
    try:
        fsspec = importlib.import_module("fsspec")
        importlib.import_module("s3fs")
    except ImportError as error:
        raise Unsupported(
            "Object storage needs s3fs, which is not installed.",
            hint="Install it: pip install 'inhouse[s3]'",
            param="model",
        ) from error
    return fsspec.filesystem("s3", use_listings_cache=False)


class Buckets:
    """See ``base.Source``. The locator of an asset is ``bucket/key``."""

    def __init__(self, filesystem: Callable[[], Any] = s3) -> None:
        """``filesystem`` gives the fsspec file system that objects are read from."""
        self._filesystem = filesystem

    def parse(self, text: str) -> Ref:
        address, _, fragment = text[len(SCHEME) :].partition("#")
        bucket, _, key = address.partition("/")
        if not _BUCKET.match(bucket) or ".." in bucket or not key or _CONTROL.search(key):
            raise BadRequest(
                "That is no object in a bucket.", hint="Write s3://bucket/folder/file.gguf.", param="model"
            )
        name = name_of("s3", f"{bucket}/{key}")
        sha256 = pinned(fragment, key)
        pin = f"#sha256={sha256}" if sha256 else ""
        return Ref(name, "s3", f"{SCHEME}{bucket}/{key}{pin}", sha256)

    def find(self, ref: Ref, watch: Watch) -> Listing:
        address = ref.text[len(SCHEME) :].partition("#")[0]
        folder, _, file = address.rpartition("/")
        filesystem = self._filesystem()
        assets, versions = [], []
        for one in siblings(file):
            path = f"{folder}/{one}"
            try:
                facts = Objects(filesystem, path, watch.policy.stall).facts(watch.check)
            except Changed as error:
                raise ModelNotFound(ref.text) from error
            except Broken as error:
                raise SourceFailed(
                    "The object storage cannot be reached.",
                    hint="Check AWS_ENDPOINT_URL, region and network.",
                    detail=str(error),
                ) from error
            versions.append(facts.validator)
            assets.append(Asset("model", file_name(one), facts.size or 0, ref.sha256, path))
        return Listing(tuple(assets), ref.text, versions[0].strip('"'))

    def fetch(self, asset: Asset, folder: Path, watch: Watch) -> Got:
        objects = Objects(self._filesystem(), asset.locator, watch.policy.stall)
        return transfer(objects, asset, folder, watch)

    def missing(self, asset: Asset, folder: Path) -> int:
        return remaining(folder, asset)


class Objects:
    """One object as a ``reader.Reader``."""

    def __init__(self, filesystem: Any, path: str, patience: float) -> None:
        self.filesystem = filesystem
        self.path = path
        self.patience = patience

    def facts(self, tick: Tick) -> Facts:
        """Size and version now. Raises Changed where it is gone."""
        info = self.ask(lambda: self.filesystem.info(self.path), tick)
        if info.get("type") != "file":
            raise Changed
        version = next((str(info[key]) for key in VERSIONS if info.get(key)), "")
        return Facts(int(info["size"]), version, True)

    def begin(self, start: int, end: int, tick: Tick) -> tuple[Facts, Blocks]:
        facts = self.facts(tick)
        return facts, Blocks(self, start, min(end, facts.size or 0), facts, tick)

    def open(self, start: int, end: int, facts: Facts, tick: Tick) -> Blocks:
        return Blocks(self, start, end, facts, tick)

    def whole(self, tick: Tick) -> tuple[Facts, Blocks]:
        facts = self.facts(tick)
        return Facts(facts.size, facts.validator, False), Blocks(self, 0, facts.size or 0, facts, tick)

    def ask(self, work: Callable[[], Any], tick: Tick) -> Any:
        """Do what cannot be interrupted in a thread that can be left behind. Raises Broken, Changed."""
        found: list[Any] = []
        failed: list[Exception] = []

        def run() -> None:
            try:
                found.append(work())
            except Exception as error:  # noqa: BLE001  (file systems raise what their libraries do)
                failed.append(error)

        thread = threading.Thread(target=run, name="bucket", daemon=True)
        thread.start()
        deadline = time.monotonic() + self.patience
        while thread.is_alive():
            tick()
            if time.monotonic() > deadline:
                raise Broken("no bytes came")
            thread.join(SLICE)
        if failed:
            raise _translated(failed[0]) from failed[0]
        return found[0]


class Blocks:
    """A range of an object. Each block is checked to be of the version that was asked for."""

    def __init__(self, objects: Objects, start: int, end: int, facts: Facts, tick: Tick) -> None:
        self._objects = objects
        self._at = start
        self._end = end
        self._facts = facts
        self._tick = tick
        self._block = memoryview(b"")

    def readinto(self, view: memoryview) -> int:
        self._tick()
        if not self._block and self._at < self._end:
            self._block = memoryview(self._next())
        count = min(len(view), len(self._block))
        view[:count] = self._block[:count]
        self._block = self._block[count:]
        return count

    def close(self) -> None:
        self._block = memoryview(b"")

    def _next(self) -> bytes:
        objects, end = self._objects, min(self._end, self._at + BLOCK)

        def read() -> bytes:
            return bytes(objects.filesystem.cat_file(objects.path, start=self._at, end=end))

        data: bytes = objects.ask(read, self._tick)
        if len(data) != end - self._at or objects.facts(self._tick) != Facts(
            self._facts.size, self._facts.validator, True
        ):
            raise Changed
        self._at = end
        return data


def _translated(error: Exception) -> Exception:
    if isinstance(error, FileNotFoundError):
        return Changed()
    if isinstance(error, PermissionError) or "credential" in type(error).__name__.lower():
        return SourceFailed(
            "The object storage refused the object.",
            hint="Check the keys, e.g. AWS_ACCESS_KEY_ID or AWS_PROFILE.",
            detail=str(error)[:300],
        )
    return Broken(f"{type(error).__name__}: {error}"[:300])
