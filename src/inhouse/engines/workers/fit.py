"""Worker program: llama.cpp's own reckoning of what a model takes, without loading it.

``python -m inhouse.engines.workers.fit`` reads the same order as ``workers.llamacpp`` and lets the wheel lay
out model, cache and buffers with nothing allocated; what it finds goes to standard error, in llama.cpp's
words (``engines.exact`` reads them). The wheel then goes on to use what was never allocated and dies of it:
whoever started this program ends it as soon as the figures are there.

The wheel has no function for this (2026.10.11549 exports ``fit_params`` and ``no_alloc`` as parameters of a
server alone), hence a server that is never served.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from inhouse.engines.workers import guard
from inhouse.engines.workers.llamacpp import parameters

VERBOSE = 4
"""The level from which on llama.cpp tells its memory breakdown."""


def laid_out(order: Mapping[str, Any], engine: Any) -> Any:
    """Parameters for the same load with nothing allocated."""
    params = parameters(order, engine)
    params.fit_params = params.no_alloc = True
    params.load_mode = engine.llama_load_mode.LLAMA_LOAD_MODE_NONE  # a mapped file would be allocated
    params.warmup = False
    params.verbosity = VERBOSE
    return params


def _no_core_file() -> None:
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Print the figures; then end in one way or another."""
    order = guard.read_order()
    guard.die_with_parent()
    guard.limit_memory(order.get("memory_limit", 0))
    os.environ["GGML_NO_BACKTRACE"] = "1"
    _no_core_file()
    import xllamacpp

    xllamacpp.Server(laid_out(order, xllamacpp))
    os._exit(0)


if __name__ == "__main__":
    main()
