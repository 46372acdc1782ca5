"""All that is asked of GGUF files, at one door. Every function checks the whole header first."""

from __future__ import annotations

from .gguf_model import Facts, facts, inspect, inspect_parts, template_capabilities, whole_metadata
from .gguf_parts import TensorRow, tensors
from .gguf_roles import (
    AdapterFacts,
    Kind,
    ProjectorFacts,
    inspect_adapter,
    inspect_draft,
    inspect_projector,
    kind_of,
)

__all__ = [
    "AdapterFacts",
    "Facts",
    "Kind",
    "ProjectorFacts",
    "TensorRow",
    "facts",
    "inspect",
    "inspect_adapter",
    "inspect_draft",
    "inspect_parts",
    "inspect_projector",
    "kind_of",
    "template_capabilities",
    "tensors",
    "whole_metadata",
]
