"""Asks llama.cpp out of the wheel in a process of its own, with our kernels or without.

``python -m support.kernel_answers`` reads one line of JSON ({"library", "servers", "asks"}) and prints one
({"report", "answers"}). ``answers`` is how tests call it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from inhouse.engines.child import SPIN_COUNT

TESTS: Final = Path(__file__).resolve().parent.parent

ORDER: Final[dict[str, Any]] = {
    "secret": "",
    "slots": 1,
    "context_length": 512,
    "threads": 2,
    "kv_cache_type": "f16",
    "gpu_layers": 0,
    "mmap": True,
    "cache_ram_mib": 0,
    "batch": 256,
    "pooling": "",
    "adapters": [],
    "projector": "",
    "draft": "",
    "draft_tokens": 0,
    "template": "",
    "flash_attention": None,
    "prefixes": "",
    "guess": [],
    "guess_fields": {},
    "logical_batch": 0,
}


@dataclass(frozen=True)
class Ask:
    """One request: to which server of the process, and with what."""

    path: str
    body: Mapping[str, Any]
    server: int = 0


def continuation(prompt: str, *, tokens: int = 24, server: int = 0) -> Ask:
    """What the model says next, greedily; the answer holds its token ids."""
    body = {
        "prompt": prompt,
        "n_predict": tokens,
        "temperature": 0,
        "cache_prompt": False,
        "return_tokens": True,
        "seed": 1,
        "ignore_eos": True,
        "n_probs": 1,
    }
    return Ask("/completion", body, server)


def answers(
    servers: Sequence[Mapping[str, Any]],
    asks: Sequence[Ask],
    *,
    library: Path | None,
    env: Mapping[str, str] | None = None,
) -> tuple[dict[str, Any], list[Any]]:
    """The library's report ({} without one) and an answer for each ask; ``servers`` are orders of the
    worker as far as they differ from ORDER."""
    with tempfile.TemporaryDirectory(prefix="inhouse-") as sockets:
        orders = [ORDER | {"address": f"{sockets}/{i}.sock"} | dict(one) for i, one in enumerate(servers)]
        told = {
            "library": str(library or ""),
            "servers": orders,
            "asks": [[one.server, one.path, one.body] for one in asks],
        }
        inside = {k: v for k, v in os.environ.items() if not k.startswith(("INHOUSE_", "GGML_"))}
        done = subprocess.run(
            [sys.executable, "-m", "support.kernel_answers"],
            input=json.dumps(told),
            env=inside | {"PYTHONPATH": str(TESTS), "GOMP_SPINCOUNT": SPIN_COUNT} | dict(env or {}),
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    return found["report"], found["answers"]


def main() -> None:
    """The child: attach, start the servers, ask in turn."""
    told = json.loads(sys.stdin.readline())
    answer = os.dup(1)
    os.dup2(2, 1)
    import httpx
    import xllamacpp

    from inhouse.engines.workers import kernels, llamacpp

    if told["library"]:
        kernels.attach(told["library"], xllamacpp)
    running = [xllamacpp.Server(llamacpp.parameters(order, xllamacpp)) for order in told["servers"]]
    clients = [
        httpx.Client(
            transport=httpx.HTTPTransport(uds=one["address"]), base_url="http://localhost", timeout=120
        )
        for one in told["servers"]
    ]
    found = [
        clients[server].post(path, json=body).raise_for_status().json() for server, path, body in told["asks"]
    ]
    report = json.loads(kernels.report(kernels.attach(told["library"], xllamacpp))) if told["library"] else {}
    with os.fdopen(answer, "w") as file:
        json.dump({"report": report, "answers": found}, file)
    os._exit(0 if running else 1)  # the engine's threads need no goodbye


if __name__ == "__main__":
    main()
