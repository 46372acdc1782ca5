"""The wheel's llama.cpp in a child process of a benchmark, with our kernels or without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from inhouse.engines.child import SPIN_COUNT


def asked(program: str, order: Mapping[str, Any]) -> dict[str, Any]:
    """What ``program --child ORDER`` prints: ``told``, and ``report`` of the kernels of ``order["library"]``,
    "" for none. Raises SystemExit where it fails, or the kernels stay out."""
    inside = {k: v for k, v in os.environ.items() if not k.startswith(("INHOUSE_", "GGML_"))}
    done = subprocess.run(
        [sys.executable, program, "--child", json.dumps(order)],
        env=inside | {"GOMP_SPINCOUNT": SPIN_COUNT},  # as the product's workers
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"the wheel's server failed: {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    if order["library"]:
        must_be_on(answer["report"])
    return answer


def must_be_on(report: Mapping[str, Any]) -> None:
    """Raises SystemExit unless the kernels compute."""
    if not report.get("on"):
        raise SystemExit(f"the kernels stayed out: {report.get('why') or 'the library was not loaded'}")
    if not report.get("tensors"):
        raise SystemExit("the kernels are on and hold no tensor of this model")


def serve(order: Mapping[str, Any], set_up: Callable[[Any, Any], None], work: Callable[[Any], Any]) -> None:
    """The child: one server of ``order["model"]``, its parameters finished by ``set_up`` (of them and of the
    module), asked by ``work`` (of an HTTP client). Does not return."""
    answer = os.dup(1)
    os.dup2(2, 1)
    import httpx
    import xllamacpp

    from inhouse.engines.workers import kernels

    if order["library"]:
        kernels.attach(order["library"], xllamacpp)
    with tempfile.TemporaryDirectory(prefix="inhouse-bench-") as aside:
        params = xllamacpp.CommonParams()
        params.model.path = order["model"]
        params.hostnames = [f"{aside}/worker.sock"]
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = order["threads"]
        params.ui, params.cache_ram_mib, params.n_gpu_layers = False, 0, 0
        set_up(params, xllamacpp)
        server = xllamacpp.Server(params)
        transport = httpx.HTTPTransport(uds=params.hostnames[0])
        told = work(httpx.Client(transport=transport, base_url="http://localhost", timeout=600))
        report = (
            json.loads(kernels.report(kernels.attach(order["library"], xllamacpp)))
            if order["library"]
            else {}
        )
    with os.fdopen(answer, "w") as file:
        json.dump({"told": told, "report": report}, file)
    os._exit(0 if server else 1)  # the engine's threads need no goodbye
