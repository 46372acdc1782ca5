"""A manifest from files that are here: what they are, whether they fit together, what is said of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import BadRequest, Unsupported
from ..core.models import Tuning
from . import gguf_facts, safetensors, templates
from .fetching import Held
from .gguf_facts import Facts
from .manifest import Manifest
from .templates import trial

TEXT_CEILING = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """All that a manifest says beside its files. ``template`` is as written, Go or Jinja.
    ``catalogued_licence`` counts where neither ``licence`` nor the weights say anything."""

    origin: str
    revision: str = ""
    licence: str = ""
    catalogued_licence: str = ""
    system: str = ""
    template: str = ""
    messages: tuple[tuple[str, str], ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    tuning: Tuning = field(default_factory=Tuning)
    labels: tuple[str, ...] = ()
    parent: str = ""


def jinja_of(written: str) -> str:
    """A template as the engine takes it. Raises BadRequest for a broken one, Unsupported naming what cannot
    be translated."""
    if len(written) > TEXT_CEILING:
        raise BadRequest("The template is larger than 1 MiB.", hint="Give a shorter one.", param="template")
    if templates.is_go(written):
        return templates.translate(written)
    templates.check(written)
    return written


def _paths(held: Iterable[Held], role: str) -> list[Path]:
    return [one.path for one in held if one.part.role == role]


def facts_of(held: Sequence[Held]) -> Facts:
    """The facts of the weights among some files. Raises BadRequest, Unsupported."""
    models = _paths(held, "model")
    if models:
        return gguf_facts.inspect_parts(models)
    files = {one.part.file: one.path for one in held if one.part.role in ("weights", "config")}
    if not any(one.part.role == "weights" for one in held):
        raise Unsupported("There are no weights among the files.", hint="Give a GGUF file or safetensors.")
    return safetensors.inspect_folder(files)


def manifest_of(held: Sequence[Held], making: Making) -> Manifest:
    """Check that the files fit together and say all of it. Raises BadRequest, Unsupported."""
    facts = facts_of(held)
    can = set(facts.capabilities)
    projector: dict[str, Any] = {}
    for path in _paths(held, "projector"):
        metadata, more = gguf_facts.inspect_projector(path)
        projector, can = dict(metadata), can | set(more)
    adapters = _paths(held, "adapter")
    rows = gguf_facts.tensors(models) if adapters and (models := _paths(held, "model")) else []
    for path in adapters:
        gguf_facts.inspect_adapter(path, facts, rows)
    for path in _paths(held, "draft"):
        gguf_facts.inspect_draft(path, facts)
    template = jinja_of(making.template)
    if tried := template or facts.template:
        trial.check(tried)
    if template:
        can |= set(gguf_facts.template_capabilities(template))
    return Manifest(
        schema=2,
        parts=tuple(one.part for one in held),
        origin=making.origin,
        revision=making.revision,
        facts=facts,
        licence=making.licence or facts.licence or making.catalogued_licence,
        system=making.system,
        template=template,
        written_template=making.template if template != making.template else "",
        messages=making.messages,
        defaults=dict(making.defaults),
        tuning=making.tuning,
        labels=making.labels,
        parent=making.parent,
        capabilities=tuple(sorted(can)) if can != set(facts.capabilities) else (),
        projector=projector,
    )


__all__ = ["Making", "facts_of", "jinja_of", "manifest_of"]
