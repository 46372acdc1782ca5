"""A native llama-server: where it is, what its version can do, and its command line for an order."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.errors import LoadFailed
from . import speculation
from .child import scrubbed
from .recipe import Availability
from .workers.native import TEMPLATE_FLAG

NATIVE = "llama-server"

_SOCKET = ".sock"
_PAIRED = "FNAME:SCALE"
_FIX = "Install llama.cpp, or name its llama-server with INHOUSE_LLAMA_SERVER."


def find(configured: str, environ: Mapping[str, str]) -> Availability:
    """A llama-server binary: the configured path, else the first one on PATH."""
    found = configured or shutil.which(NATIVE, path=environ.get("PATH", "")) or ""
    if not found:
        return Availability("native", False, why="no llama-server is on PATH", fix=_FIX)
    path = Path(found).expanduser()
    try:
        version, flags = _probe_file(path)
    except (OSError, ValueError, subprocess.SubprocessError):
        return Availability("native", False, path=str(path), why="llama-server does not run", fix=_FIX)
    missing = {"--model", "--host", "--parallel", "--jinja"} - flags
    if missing or (sys.platform != "win32" and _SOCKET not in flags):
        why = "this llama-server is too old: it " + (
            f"lacks {', '.join(sorted(missing))}" if missing else "cannot listen on a Unix socket"
        )
        return Availability("native", False, version, str(path), why, "Update llama.cpp.")
    return Availability("native", True, version, str(path))


def known_flags(path: Path) -> frozenset[str]:
    """What ``flags_of`` finds in the help of a binary. Raises OSError, ValueError, SubprocessError."""
    return _probe_file(path)[1]


def _probe_file(path: Path) -> tuple[str, frozenset[str]]:
    state = path.stat()
    return _probe(str(path), state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=8)
def _probe(path: str, mtime_ns: int, size: int) -> tuple[str, frozenset[str]]:
    """Version and known flags of a binary; the file state is part of the key."""

    def ask(flag: str) -> str:
        done = subprocess.run(
            [path, flag],
            env=scrubbed(os.environ),
            capture_output=True,
            timeout=10,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return (done.stdout + done.stderr).decode("utf-8", "replace")

    match = re.search(r"version:\s*(.+)", ask("--version"))
    if not match:
        raise ValueError("no version")
    return match[1].strip()[:80], flags_of(ask("--help"))


def flags_of(text: str) -> frozenset[str]:
    """The flags that a help text names; also ``.sock`` if it can listen on Unix sockets, and
    ``FNAME:SCALE`` if an adapter's scale stands behind a colon (older versions: a second value)."""
    flags = set(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", text))
    return frozenset(flags | {sign for sign in (_SOCKET, _PAIRED) if sign in text})


SAVES = "--slot-save-path"
"""The flag of those that can save prompts."""

_SWITCHES = (
    ("--jinja",),
    ("--metrics",),
    ("--slots",),
    ("--embeddings", "--embedding"),
    ("--no-ui", "--no-webui"),
    ("--no-kv-unified",),
    ("--no-context-shift",),
    ("--offline",),
    ("--no-cache-idle-slots",),
)
"""Flags without a value, each with the names it had."""


_LOADING = ("--spec-draft-override-tensor", "--override-tensor-draft", "--override-tensor")
"""Flags whose value names a kind of memory. To know those, llama.cpp loads what GGML_BACKEND_PATH names,
which a program that has its backends inside does not do otherwise (seen with b11434 and b11549)."""

_NOTHING = "inhouse-loads-its-kernels=CPU"
"""A value that is meant for no tensor."""


def arguments(order: Mapping[str, Any], known: frozenset[str]) -> list[str]:
    """Flags of llama-server for an order; one that this version lacks is left out if it only tunes.

    The key of a TCP worker is not among them (it would show in the process list): llama-server
    reads it from LLAMA_API_KEY. Raises LoadFailed where the model needs what this version lacks.
    """
    host, _, port = order["address"].rpartition(":")
    socket = order["address"].endswith(_SOCKET)
    wanted: list[tuple[str, str | None]] = [
        ("--model", order["model"]),
        ("--host", order["address"] if socket else host),
        ("--port", None if socket else port),
        ("--ctx-size", str(order["context_length"] * order["slots"])),
        ("--parallel", str(order["slots"])),
        ("--threads", str(order["threads"])),
        ("--threads-batch", str(order["threads"])),
        ("--batch-size", str(max(order["batch"], order["logical_batch"]))),
        ("--ubatch-size", str(order["batch"])),
        ("--cache-type-k", order["kv_cache_type"]),
        ("--cache-type-v", order["kv_cache_type"]),
        ("--gpu-layers", str(order["gpu_layers"]) if order["gpu_layers"] >= 0 else None),
        ("--pooling", order["pooling"] or None),
        ("--load-mode", None if order["mmap"] else "none"),
        ("--cache-ram", str(order["cache_ram_mib"])),
        ("--flash-attn", {None: None, True: "on", False: "off"}[order["flash_attention"]]),
        (SAVES, order.get("prefixes") or None),
    ]
    switches = list(_SWITCHES)
    if not order["mmap"] and "--load-mode" not in known:
        switches.append(("--no-mmap",))
    if order["projector"] and order["gpu_layers"] == 0:
        switches.append(("--no-mmproj-offload",))
    out: list[str] = []
    for name, value in wanted:
        if name in known and value is not None:
            out += [name, value]
    for names in switches:
        out += [name for name in names if name in known][:1]
    if order.get("kernels"):
        out += [word for name in _LOADING if name in known for word in (name, _NOTHING)][:2]
    parts = _parts(order, known)
    return out + speculation.arguments(order, known) + parts


def _parts(order: Mapping[str, Any], known: frozenset[str]) -> list[str]:
    """Flags of what the model is made of beside its weights; none may be left out in silence."""
    out: list[str] = []
    for path, scale in order["adapters"]:
        out += _adapter(path, scale, known)
    if order["projector"]:
        out += [_needed(("--mmproj",), known, "a projector"), order["projector"]]
    if order["draft"]:
        out += _draft(order, known)
    if order["template"]:
        _needed((TEMPLATE_FLAG,), known, "a chat template of its own")
    return out


def _adapter(path: str, scale: float, known: frozenset[str]) -> list[str]:
    flag = _needed(("--lora-scaled",), known, "an adapter")
    if _PAIRED not in known:
        return [flag, path, f"{scale:g}"]
    if not set(path) & set(':,"'):
        return [flag, f"{path}:{scale:g}"]
    if scale == 1:
        return [_needed(("--lora",), known, "an adapter"), '"' + path.replace('"', '""') + '"']
    raise LoadFailed(
        "A native llama-server takes no scale for an adapter whose path holds a colon, comma or quote.",
        hint="Store the adapter under another path, or start the server with INHOUSE_ENGINE=wheel.",
        detail=path,
    )


def _draft(order: Mapping[str, Any], known: frozenset[str]) -> list[str]:
    """Speculative decoding with a draft model; newer versions want the method named as well."""
    names = ("--spec-draft-model", "--model-draft")
    out = [_needed(names, known, "a draft model"), order["draft"]]
    layers = str(order["gpu_layers"]) if order["gpu_layers"] >= 0 else None
    kv_type = order["kv_cache_type"]
    for flags, value in (
        (("--spec-type",), "draft-simple"),
        (("--spec-draft-n-max", "--draft-max"), str(order["draft_tokens"])),
        (("--spec-draft-ngl", "--gpu-layers-draft"), layers),
        (("--spec-draft-type-k", "--cache-type-k-draft"), kv_type),
        (("--spec-draft-type-v", "--cache-type-v-draft"), kv_type),
    ):
        flag = next((flag for flag in flags if flag in known), None)
        if flag and value is not None:
            out += [flag, value]
    return out


def _needed(names: tuple[str, ...], known: frozenset[str], what: str) -> str:
    for name in names:
        if name in known:
            return name
    raise LoadFailed(
        f"The model has {what}, which this llama-server cannot use: it lacks {names[0]}.",
        hint="Update llama.cpp, or start the server with INHOUSE_ENGINE=wheel.",
    )
