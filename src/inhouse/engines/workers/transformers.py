"""Worker program: runs a safetensors model with PyTorch and transformers, on OpenAI's wire.

Run as a file by the Python of the engine's own environment, in which Inhouse is not installed:
``python -I .../workers/transformers.py`` reads one line of JSON (``transformers_model.Order``) from
standard input, and serves. So the modules beside this file import nothing but the standard library,
torch, transformers and llguidance, and each other relatively.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

ALONE = "inhouse_workers"
"""The name that the folder of workers has in such a process."""


def _beside() -> None:
    """Make this file's folder a package without importing what stands above it."""
    folder = Path(__file__).parent
    spec = importlib.util.spec_from_file_location(
        ALONE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018  # the file is there
    package = importlib.util.module_from_spec(spec)
    sys.modules[ALONE] = package
    spec.loader.exec_module(package)


if __name__ == "__main__":
    _beside()
    importlib.import_module(f"{ALONE}.transformers_main").main()
