"""A folder laid out as Ollama's store, for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .registryserver import DOCKER_MANIFEST, Layer, sha256


class OllamaStore:
    """``mark`` stands between sha256 and the hex digits of blob names: "-", in old stores ":"."""

    def __init__(self, path: Path, mark: str = "-") -> None:
        self.path = path
        self.mark = mark
        (path / "blobs").mkdir(parents=True)
        (path / "manifests").mkdir()

    def blob(self, data: bytes) -> Path:
        return self.path / "blobs" / sha256(data).replace(":", self.mark)

    def put(self, name: str, layers: Sequence[Layer], config: Any = None, **changed: Any) -> Path:
        """A model; ``name`` is ``host/namespace/model/tag``. Returns the manifest's path."""
        made = Layer("application/vnd.docker.container.image.v1+json", json.dumps(config or {}).encode())
        for layer in (*layers, made):
            self.blob(layer.data).write_bytes(layer.data)
        manifest = {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": made.descriptor(),
            "layers": [layer.descriptor() for layer in layers],
        }
        return self.raw(name, json.dumps(manifest | changed).encode())

    def raw(self, name: str, body: bytes) -> Path:
        path = self.path / "manifests" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        return path

    def tree(self) -> dict[str, tuple[int, int]]:
        """Every file with its size and age."""
        found = (p for p in self.path.rglob("*") if p.is_file())
        return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in found}
