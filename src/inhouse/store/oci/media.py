"""Media types of manifests and layers, and what a layer of each type is.

Ollama: https://github.com/ollama/ollama/tree/main/manifest · Docker models:
https://github.com/docker/model-spec/blob/main/spec.md · ModelPack:
https://github.com/modelpack/model-spec/blob/main/docs/spec.md
"""

from __future__ import annotations

from typing import Final, Literal

DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
MANIFESTS: Final = frozenset({DOCKER_MANIFEST, OCI_MANIFEST})
INDEXES: Final = frozenset({DOCKER_INDEX, OCI_INDEX})
ACCEPT: Final = ", ".join((DOCKER_MANIFEST, OCI_MANIFEST, OCI_INDEX, DOCKER_INDEX))

OLLAMA: Final = "application/vnd.ollama.image."
OLLAMA_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_AI: Final = "application/vnd.docker.ai."
DOCKER_CONFIG: Final = DOCKER_AI + "model.config.v0.1+json"
JINJA: Final = DOCKER_AI + "chat.template.jinja"
CNCF: Final = "application/vnd.cncf.model."
CNCF_ARTIFACT: Final = CNCF + "manifest.v1+json"
CNCF_CONFIG: Final = CNCF + "config.v1+json"
CNCF_WEIGHT: Final = CNCF + "weight.v1.raw"
CNCF_WEIGHT_CONFIG: Final = CNCF + "weight.config.v1.raw"
CNCF_DOC: Final = CNCF + "doc.v1.raw"

TITLE: Final = "org.opencontainers.image.title"
FILEPATH: Final = "org.cncf.model.filepath"
ROLE: Final = "io.inhouse.model.role"
"""Annotation of our own on pushed layers: what a file is where its type does not say (a LoRA adapter
and a draft model are weights to ModelPack)."""
SCALE: Final = "io.inhouse.model.scale"

Meaning = Literal[
    "model", "projector", "adapter", "draft", "weights", "config",
    "template", "jinja", "system", "params", "messages", "licence",
    "named", "doc", "ignored", "mlx", "archive", "dduf",
]  # fmt: skip
"""What a layer is. The first six are roles of files. ``named``: its file name decides. ``doc``: a
licence if it is called so. ``mlx``, ``archive``, ``dduf``: refused, with the reason."""

FILES: Final = frozenset({"model", "projector", "adapter", "draft", "weights", "config"})
TEXTS: Final = frozenset({"template", "jinja", "system", "params", "messages", "licence"})

_TABLE: Final[dict[str, Meaning]] = {
    OLLAMA + "model": "model",
    OLLAMA + "projector": "projector",
    OLLAMA + "adapter": "adapter",
    OLLAMA + "draft": "draft",
    OLLAMA + "template": "template",
    OLLAMA + "prompt": "template",
    OLLAMA + "system": "system",
    OLLAMA + "params": "params",
    OLLAMA + "messages": "messages",
    OLLAMA + "license": "licence",
    OLLAMA + "tensor": "mlx",
    DOCKER_AI + "gguf.v3": "model",
    DOCKER_AI + "model.file.v1+gguf": "model",
    DOCKER_AI + "gguf.v3.lora": "adapter",
    DOCKER_AI + "gguf.v3.mmproj": "projector",
    DOCKER_AI + "mmproj": "projector",
    DOCKER_AI + "license": "licence",
    JINJA: "jinja",
    DOCKER_AI + "safetensors": "weights",
    DOCKER_AI + "model.file": "config",
    DOCKER_AI + "dduf": "dduf",
    DOCKER_AI + "vllm.config.tar": "archive",
    DOCKER_AI + "dir.tar": "archive",
    CNCF_WEIGHT: "named",
    CNCF + "weight.v1.gguf": "model",
    CNCF + "weight.v1.safetensors": "weights",
    CNCF_WEIGHT_CONFIG: "config",
    CNCF_DOC: "doc",
}
_ARCHIVED_WEIGHTS: Final = (CNCF + "weight.v1.tar", CNCF + "weight.config.v1.tar")


def meaning(media_type: str) -> Meaning:
    """What a layer of this type is; parameters after ``;`` and case do not count."""
    plain = media_type.partition(";")[0].strip().lower()
    if plain.startswith(_ARCHIVED_WEIGHTS):
        return "archive"
    found = _TABLE.get(plain)
    if found:
        return found
    return "ignored" if plain.startswith((OLLAMA, CNCF)) else "named"
