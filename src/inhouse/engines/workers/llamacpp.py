"""Worker program: llama.cpp's HTTP server out of the xllamacpp wheel, on a private socket.

``python -m inhouse.engines.workers.llamacpp`` reads one line of JSON from standard input (made by
``engines.llamacpp``), loads the model and serves until SIGTERM or until its parent is gone. It
writes nothing to standard output; the engine's log goes to standard error.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from typing import Any

from inhouse.engines import speculation
from inhouse.engines.workers import guard, kernels


def parameters(order: Mapping[str, Any], engine: Any) -> Any:
    """CommonParams of ``engine`` (the xllamacpp module) for an order."""
    params = engine.CommonParams()
    params.model.path = order["model"]
    address = order["address"]
    if address.endswith(".sock"):
        params.hostnames, params.port = [address], 8080
    else:
        host, _, port = address.rpartition(":")
        params.hostnames, params.port = [host], int(port)
    if order["secret"]:
        params.api_keys = [order["secret"]]
    params.n_parallel = order["slots"]
    params.n_ctx = order["context_length"] * order["slots"]
    params.kv_unified = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = order["threads"]
    params.n_ubatch = order["batch"]
    params.n_batch = max(order["batch"], order["logical_batch"])
    cache = getattr(engine.ggml_type, f"GGML_TYPE_{order['kv_cache_type'].upper()}")
    params.cache_type_k = params.cache_type_v = cache
    params.n_gpu_layers = order["gpu_layers"]
    params.embedding = True
    if order["pooling"]:
        pooling = f"LLAMA_POOLING_TYPE_{order['pooling'].upper()}"
        params.pooling_type = getattr(engine.llama_pooling_type, pooling)
    if not order["mmap"]:
        params.load_mode = engine.llama_load_mode.LLAMA_LOAD_MODE_NONE
    params.use_jinja = params.endpoint_metrics = params.endpoint_slots = True
    params.ui = False
    params.cache_ram_mib = order["cache_ram_mib"]  # as much as the plan has counted
    params.cache_idle_slots = False  # a prompt is kept when it loses its slot, not copied at every request
    params.offline = True
    if (flash := order["flash_attention"]) is not None:
        kind = f"LLAMA_FLASH_ATTN_TYPE_{'ENABLED' if flash else 'DISABLED'}"
        params.flash_attn_type = getattr(engine.llama_flash_attn_type, kind)
    if order["prefixes"]:
        params.slot_save_path = os.path.join(order["prefixes"], "")
    _add_parts(params, order, engine)
    return params


def _add_parts(params: Any, order: Mapping[str, Any], engine: Any) -> None:
    """What the model is made of beside its weights."""
    params.lora_adapters = [engine.CommonAdapterLoraInfo(path, scale) for path, scale in order["adapters"]]
    if order["projector"]:
        params.mmproj.path = order["projector"]
        params.mmproj_use_gpu = order["gpu_layers"] != 0
    if order["template"]:
        params.chat_template = order["template"]
    speculation.set_parameters(params.speculative, order, engine.common_speculative_type)
    if order["draft"]:
        draft = params.speculative.draft
        draft.mparams.path = order["draft"]
        draft.n_gpu_layers = order["gpu_layers"]
        draft.cpuparams.n_threads = draft.cpuparams_batch.n_threads = order["threads"]
        draft.cache_type_k = draft.cache_type_v = params.cache_type_k


def _end(*_: object) -> None:
    os._exit(0)  # at once: the engine's threads own no state worth keeping


def main() -> None:
    """Serve one model until told to stop."""
    order = guard.read_order()
    guard.die_with_parent()
    guard.let_others_in()
    guard.limit_memory(order.get("memory_limit", 0))
    os.dup2(2, 1)
    os.umask(0o177)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # loading does not run Python's handlers
    import xllamacpp

    kernels.attached(order.get("kernels", ""), xllamacpp)
    server = xllamacpp.Server(parameters(order, xllamacpp))
    signal.signal(signal.SIGTERM, _end)
    while server is not None:  # keeps the server alive
        threading.Event().wait(3600)


if __name__ == "__main__":
    main()
