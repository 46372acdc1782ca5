"""Asks an installed build what it is and what it sees, in a child that may break or hang."""

from __future__ import annotations

import errno
import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..child import scrubbed
from .symptoms import broken

TIMEOUT: Final = 20.0
"""Seconds; the first start of a CUDA program may take ten."""

_CPU_TYPE: Final = 0  # GGML_BACKEND_DEVICE_TYPE_CPU
_PASSING: Final = frozenset({errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ETXTBSY})
"""No process, descriptor or memory, or a file that a child being forked still holds: next time it works."""

_DEVICE = re.compile(r"^\s+(\w+): (.+?) \(\d+ MiB, \d+ MiB free\)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a build says: its ``version`` and the ``devices`` beside the CPU. ``why``: why it cannot work."""

    version: str = ""
    devices: tuple[str, ...] = ()
    why: str = ""


def server(program: Path, environ: Mapping[str, str], *, gpu: bool) -> Seen:
    """Ask a llama-server. ``gpu``: without a device it cannot work. Blocking."""
    return _now(("server", str(program)), _state(program), _key(environ), gpu)


def package(folder: Path, library: Path, environ: Mapping[str, str], *, gpu: bool) -> Seen:
    """Ask an xllamacpp that lies in ``folder``, ``library`` being its largest file. Blocking."""
    return _now(("package", str(folder)), _state(library), _key(environ), gpu)


def _now(what: tuple[str, str], state: tuple[int, int], env: tuple[tuple[str, str], ...], gpu: bool) -> Seen:
    """What is known of a build; what the machine could not do just now is not remembered of it."""
    try:
        return _asked(what, state, env, gpu)
    except OSError as error:
        return Seen(why=f"the machine could not start it just now ({error.strerror})")


def importing(folder: str, environ: Mapping[str, str]) -> dict[str, str]:
    """A scrubbed environment in which ``import xllamacpp`` finds the one in ``folder`` first."""
    env = scrubbed(environ)
    env["PYTHONPATH"] = os.pathsep.join(part for part in (folder, env.get("PYTHONPATH", "")) if part)
    return env


def _state(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError:
        return 0, 0
    return state.st_mtime_ns, state.st_size


def _key(environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(scrubbed(environ).items()))


@functools.lru_cache(maxsize=64)
def _asked(
    what: tuple[str, str], state: tuple[int, int], env: tuple[tuple[str, str], ...], gpu: bool
) -> Seen:
    """``state`` is part of the key only: a file that changed is asked again."""
    kind, path = what
    seen = _server(path, dict(env)) if kind == "server" else _package(path, dict(env))
    if gpu and not seen.why and not seen.devices:
        return Seen(seen.version, (), "it finds no device to compute on")
    return seen


def _server(path: str, env: dict[str, str]) -> Seen:
    code, said = run([path, "--version"], env)
    version = re.search(r"version:\s*(.+)", said)
    if code or not version:
        return Seen(why=broken(said, code) or _vague(code))
    code, listed = run([path, "--list-devices"], env)
    if code:
        return Seen(version[1].strip()[:80], (), broken(listed, code) or _vague(code))
    return Seen(version[1].strip()[:80], tuple(match[2] for match in _DEVICE.finditer(listed)))


def _package(folder: str, env: dict[str, str]) -> Seen:
    worker = f"{__package__.rpartition('.')[0]}.workers.devices"
    code, said = run([sys.executable, "-P", "-m", worker], importing(folder, env))
    try:
        found = json.loads(said.strip().splitlines()[-1])
        devices = tuple(one["description"] for one in found["devices"] if one["type"] != _CPU_TYPE)
        return Seen(str(found["version"]), devices)
    except (ValueError, KeyError, TypeError, IndexError):
        return Seen(why=broken(said, code) or _vague(code))


def run(command: Sequence[str], env: Mapping[str, str]) -> tuple[int | None, str]:
    """Exit code (None: it hung) and all it printed. Raises OSError for what will pass."""
    try:
        done = subprocess.run(
            command,
            env=dict(env),
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd=os.path.abspath(os.sep),
        )
    except subprocess.TimeoutExpired:
        return None, ""
    except OSError as error:
        if error.errno in _PASSING:
            raise
        return 126, str(error)
    return done.returncode, (done.stderr + done.stdout).decode("utf-8", "replace")


def _vague(code: int | None) -> str:
    return f"it did not answer within {TIMEOUT:g} s" if code is None else f"it ends with the code {code}"


__all__ = ["Seen", "importing", "package", "server"]
