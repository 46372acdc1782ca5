"""llama.cpp, through the xllamacpp wheel or a native llama-server: one recipe, one wire.

The parent never imports the wheel: it only asks the package metadata. A native binary is asked for
its version and its flags once per file state.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import re
import shutil
import site
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.engine import Launch
from ..core.errors import BadRequest
from ..core.models import Card
from ..core.requests import LoadOptions
from ..machine import fit
from .recipe import Availability, Room, Settings

WHEEL = "xllamacpp"
NATIVE = "llama-server"

PAD = 256
"""llama.cpp rounds the context of a slot up to a multiple of this."""

SPIN_COUNT = "1000"
"""How long OpenMP's threads spin at a barrier before they sleep. By default it is milliseconds: on
a machine whose cores are all taken that stops the engine almost wholly (measured with 135M beside
other work: under 3 tokens/s, with this 16 to 34; alone: no difference)."""

_KEPT = (
    "CUDA_VISIBLE_DEVICES",
    "DYLD_LIBRARY_PATH",
    "GGML_BACKEND_PATH",
    "GOMP_SPINCOUNT",
    "HIP_VISIBLE_DEVICES",
    "LD_LIBRARY_PATH",
    "ONEAPI_DEVICE_SELECTOR",
    "PATH",
    "PYTHONPATH",
    "ROCR_VISIBLE_DEVICES",
    "SYSTEMROOT",
    "TEMP",
    "TMP",
)


def wheel() -> Availability:
    """The xllamacpp wheel, as the package metadata tells; nothing of it is imported."""
    try:
        return Availability("wheel", True, importlib.metadata.version(WHEEL))
    except importlib.metadata.PackageNotFoundError:
        return Availability(
            "wheel",
            False,
            why="the package xllamacpp is not installed",
            fix="Reinstall Inhouse for a platform with an xllamacpp wheel, or install llama.cpp.",
        )


def native(configured: str, environ: Mapping[str, str]) -> Availability:
    """A llama-server binary: the configured path, else the first one on PATH."""
    found = configured or shutil.which(NATIVE, path=environ.get("PATH", "")) or ""
    fix = "Install llama.cpp, or name its llama-server with INHOUSE_LLAMA_SERVER."
    if not found:
        return Availability("native", False, why="no llama-server is on PATH", fix=fix)
    path = Path(found).expanduser()
    try:
        state = path.stat()
        version, flags = _probe(str(path), state.st_mtime_ns, state.st_size)
    except (OSError, ValueError, subprocess.SubprocessError):
        return Availability("native", False, path=str(path), why="llama-server does not run", fix=fix)
    missing = {"--model", "--host", "--parallel", "--jinja"} - flags
    if missing or (sys.platform != "win32" and ".sock" not in flags):
        why = "this llama-server is too old: it " + (
            f"lacks {', '.join(sorted(missing))}" if missing else "cannot listen on a Unix socket"
        )
        return Availability("native", False, version, str(path), why, "Update llama.cpp.")
    return Availability("native", True, version, str(path))


@functools.lru_cache(maxsize=8)
def _probe(path: str, mtime_ns: int, size: int) -> tuple[str, frozenset[str]]:
    """Version and known flags of a binary; the file state is part of the key."""

    def ask(flag: str) -> str:
        done = subprocess.run(
            [path, flag], capture_output=True, timeout=10, check=False, stdin=subprocess.DEVNULL
        )
        return (done.stdout + done.stderr).decode("utf-8", "replace")

    match = re.search(r"version:\s*(.+)", ask("--version"))
    if not match:
        raise ValueError("no version")
    return match[1].strip()[:80], flags_of(ask("--help"))


def flags_of(text: str) -> frozenset[str]:
    """The flags that a help text names; ``.sock`` stands for listening on Unix sockets."""
    flags = set(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", text))
    return frozenset(flags | ({".sock"} if ".sock" in text else set()))


def batch_size(card: Card, room: Room) -> int:
    """Prompt tokens computed in one go.

    A cancel and the other streams wait for the end of a batch, so it should take well under a
    second; on a CPU a small one costs little (0.5B on 2 cores: 128 is 3 % slower than 512, 64 is
    6 %; 135M: none).
    """
    billions_per_core = card.parameters / 1e9 / max(room.cores, 1)
    if billions_per_core < 0.05:
        return 256
    return 128 if billions_per_core < 0.5 else 64


class LlamaCpp:
    """Recipe for one found llama.cpp (``Availability.name`` says which kind)."""

    def __init__(self, settings: Settings, found: Availability, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._found = found
        self._environ = dict(environ)

    @property
    def name(self) -> str:
        return f"llama.cpp ({self._found.name})"

    @property
    def build(self) -> str:
        return f"{WHEEL if self._found.name == 'wheel' else NATIVE} {self._found.version}"

    def cards(self) -> tuple[Card, ...]:
        """None: all models come from the store."""
        return ()

    def launch(self, card: Card, options: LoadOptions, *, room: Room, address: str, secret: str) -> Launch:
        """How to start a worker for ``card``; context and slots are fitted to ``room``."""
        if card.format != "gguf":
            raise BadRequest(
                "llama.cpp runs GGUF models only.", hint="Pull the model as a GGUF file.", param="model"
            )
        kv_type = self._settings.kv_cache_type
        plan = fit.plan(
            card,
            memory=room.memory,
            wanted_context=options.context_length or self._settings.context_length,
            wanted_slots=self._settings.slots,
            kv_bytes=fit.KV_BYTES[kv_type],
        )
        order = {
            "model": card.weights,
            "address": address,
            "secret": secret,
            "slots": plan.slots,
            "context_length": _engine_context(card, plan.context_length),
            "threads": options.threads or self._settings.threads or room.cores,
            "kv_cache_type": kv_type,
            "gpu_layers": -1 if options.gpu_layers is None else options.gpu_layers,
            "mmap": options.use_mmap is not False,
        } | _compute(card, options, room, plan.context_length)
        worker = "native" if self._found.name == "native" else "llamacpp"
        if worker == "native":
            order = self._native_order(order)
        return Launch(
            engine="llama.cpp",
            command=(sys.executable, "-P", "-m", f"{__package__}.workers.{worker}"),
            address=address,
            env=scrubbed(self._environ),
            stdin=json.dumps(order).encode() + b"\n",
            secret=secret,
            slots=plan.slots,
            context_length=plan.context_length,
            memory=plan.memory,
            build=self.build,
        )

    def _native_order(self, order: dict[str, Any]) -> dict[str, Any]:
        path = Path(self._found.path)
        state = path.stat()
        flags = _probe(str(path), state.st_mtime_ns, state.st_size)[1]
        return {
            "command": [str(path), *arguments(order, flags)],
            "address": order["address"],
            "secret": order["secret"],
        }


def padded(context_length: int) -> int:
    """The context of a slot as llama.cpp makes it: whole multiples of ``PAD``."""
    return max(PAD, -(-context_length // PAD) * PAD)


def _engine_context(card: Card, context_length: int) -> int:
    """The engine takes prompts shorter than its context only, which an embedding may fill."""
    return padded(context_length if "completion" in card.capabilities else context_length + 1)


def _compute(card: Card, options: LoadOptions, room: Room, context_length: int) -> dict[str, Any]:
    """Batch and pooling.

    Embeddings are always on: it costs a generating model nothing until used (measured: same
    prefill, decode and memory). A generating model whose file names no pooling gets the last
    token's vector, which may be computed in batches; a mean would need the whole input in one
    batch, whose logits take gigabytes. A model made for embeddings needs its input in one batch.
    """
    batch = min(max(options.batch or batch_size(card, room), 32), 4096)
    if "completion" in card.capabilities:
        return {"batch": batch, "pooling": "last"}
    return {"batch": max(batch, _engine_context(card, context_length)), "pooling": ""}


def scrubbed(environ: Mapping[str, str]) -> dict[str, str]:
    """The little a worker inherits: how to find programs, libraries and devices; no keys, no home."""
    env = {"GOMP_SPINCOUNT": SPIN_COUNT}
    env |= {name: environ[name] for name in _KEPT if environ.get(name)}
    env |= {"HOME": tempfile.gettempdir(), "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
    if site.ENABLE_USER_SITE and os.path.isdir(site.getusersitepackages()):
        env["PYTHONUSERBASE"] = site.getuserbase()
    return env


_SWITCHES = (
    ("--jinja",),
    ("--metrics",),
    ("--slots",),
    ("--embeddings", "--embedding"),
    ("--no-ui", "--no-webui"),
    ("--no-kv-unified",),
    ("--no-context-shift",),
    ("--offline",),
)
"""Flags without a value, each with the names it had."""


def arguments(order: Mapping[str, Any], known: frozenset[str]) -> list[str]:
    """Flags of llama-server for an order; a flag that this version lacks is left out.

    The key of a TCP worker is not among them (it would show in the process list): llama-server
    reads it from LLAMA_API_KEY.
    """
    host, _, port = order["address"].rpartition(":")
    socket = order["address"].endswith(".sock")
    wanted: list[tuple[str, str | None]] = [
        ("--model", order["model"]),
        ("--host", order["address"] if socket else host),
        ("--port", None if socket else port),
        ("--ctx-size", str(order["context_length"] * order["slots"])),
        ("--parallel", str(order["slots"])),
        ("--threads", str(order["threads"])),
        ("--threads-batch", str(order["threads"])),
        ("--batch-size", str(order["batch"])),
        ("--ubatch-size", str(order["batch"])),
        ("--cache-type-k", order["kv_cache_type"]),
        ("--cache-type-v", order["kv_cache_type"]),
        ("--gpu-layers", str(order["gpu_layers"]) if order["gpu_layers"] >= 0 else None),
        ("--pooling", order["pooling"] or None),
        ("--load-mode", None if order["mmap"] else "none"),
        ("--cache-ram", "0"),
    ]
    switches = list(_SWITCHES)
    if not order["mmap"] and "--load-mode" not in known:
        switches.append(("--no-mmap",))
    out: list[str] = []
    for name, value in wanted:
        if name in known and value is not None:
            out += [name, value]
    for names in switches:
        out += [name for name in names if name in known][:1]
    return out
