"""Makes a model from an order: a base, files, texts; quantised or converted on the way if asked."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

import msgspec

from ..core.create import Create, FileRef
from ..core.errors import BadRequest, InhouseError, ModelNotFound, Unsupported
from ..core.models import Card, ModelName, Tuning
from . import catalogue, gguf_facts
from .fetching import Fetcher, Held
from .layout import Layout, guarded
from .making import Making, manifest_of
from .manifest import Manifest, Part, Place, read, stamp_of
from .records import Records
from .reworking import Reworker, Workshop
from .sources import SOURCES, PullEvent, Watch

GGUF_ROLE = {"model": "model", "projector": "projector", "adapter": "adapter"}
_SPLIT = re.compile(r"-([0-9]{5})-of-[0-9]{5}(?:\.gguf)?\Z", re.ASCII | re.IGNORECASE)


class Creator:
    """Carries out orders; blocking, in a thread of its own."""

    def __init__(
        self,
        layout: Layout,
        records: Records,
        workshop: Workshop | None,
        pull: Callable[[str, Watch], Card],
    ) -> None:
        self._layout = layout
        self._records = records
        self._fetcher = Fetcher(layout)
        self._reworker = Reworker(layout, workshop)
        self._pull = pull

    def create(self, order: Create, watch: Watch) -> Card:
        """Make the model; it is visible afterwards. Raises BadRequest and what tools and pulls do."""
        name = ModelName.parse(order.name)
        aliases = [ModelName.parse(alias) for alias in order.aliases]
        for alias in aliases:  # before hours of work, not after it
            self._records.check_alias(alias, name)
        self._layout.prepare()
        base, held = self._weights(order, watch)
        held = self._companions(order, held, watch)
        if order.quantize:
            imatrix = self._one(order.imatrix, "imatrix", watch).path if order.imatrix else None
            held = self._reworker.run(order, held, imatrix, watch)
        manifest = manifest_of(held, _making(order, base))
        for one in held:
            watch.say(PullEvent(f"using existing layer {one.part.digest}"))
        watch.check()
        watch.say(PullEvent("writing manifest"))
        with self._layout.lock():
            self._records.save(name, manifest, {one.part.digest: one.place for one in held})
        for alias in aliases:
            self._records.alias(alias, name)
        return self._records.get(name)

    # -- what it is made of -------------------------------------------------------------------

    def _weights(self, order: Create, watch: Watch) -> tuple[Manifest | None, tuple[Held, ...]]:
        if bool(order.base) == bool(order.files):
            raise BadRequest(
                "neither 'from' or 'files' was specified"
                if not order.base
                else "both 'from' and 'files' were specified",
                hint="Say what to make the model from: a model's name, or files.",
                param="from",
            )
        if order.files:
            return None, self._files(order, watch)
        return self._base(order.base, watch)

    def _base(self, text: str, watch: Watch) -> tuple[Manifest, tuple[Held, ...]]:
        """The manifest and files of a model, pulled when it is missing."""
        card = self._stored(text) or self._pull(text, watch)
        record = self._records.find(card.name)
        if record is None:
            raise ModelNotFound(text)
        manifest = read(record.named)
        held = []
        for part, file in zip(manifest.files(), card.files, strict=True):
            place = record.named.places.get(part.digest, Place())
            held.append(Held(part, place, Path(file.path)))
        return manifest, tuple(held)

    def _stored(self, text: str) -> Card | None:
        """The model of a name, also of one whose tag only the catalogue knows."""
        with contextlib.suppress(InhouseError):
            name = ModelName.parse(text)
            for meant in (name, catalogue.default_tag(name)):
                if meant is not None:
                    with contextlib.suppress(ModelNotFound):
                        return self._records.get(meant)
        return None

    def _files(self, order: Create, watch: Watch) -> tuple[Held, ...]:
        """Uploaded blobs and files of this machine, each in the role that its bytes say."""
        found: list[Held] = []
        for ref in order.files:
            found += self._local(ref, watch) if ref.path else [self._uploaded(ref)]
        roles = {one.part.role for one in found}
        if "model" in roles and "weights" in roles:
            raise BadRequest(
                "The files are both GGUF and safetensors.", hint="Give one or the other.", param="files"
            )
        if "model" not in roles and "weights" not in roles:
            raise BadRequest("There is no model among the files.", hint="Give its weights.", param="files")
        if "imatrix" in roles:
            raise BadRequest(
                "An importance matrix is no part of a model.", hint="Give it as 'imatrix'.", param="files"
            )
        _refuse_twins(found)
        models = _in_order([one for one in found if one.part.role == "model"])
        return (*models, *(one for one in found if one.part.role != "model"))

    def _uploaded(self, ref: FileRef) -> Held:
        blob = self._layout.blob(ref.digest)
        with guarded("looking for an upload"):
            if not blob.is_file():
                raise BadRequest(
                    f"The blob {ref.digest} was not uploaded.",
                    hint="Send it first: POST /api/blobs/sha256:<hex>",
                    param="files",
                )
            place = Place("", stamp_of(blob))
            size = blob.stat().st_size
        file = safe_file(ref.file)
        return Held(Part(role_of(file, blob), file, ref.digest, size, ref.scale), place, blob)  # type: ignore[arg-type]

    def _local(self, ref: FileRef, watch: Watch) -> list[Held]:
        """Files of this machine, used where they lie."""
        source = SOURCES["file"]
        listing = source.find(source.parse(ref.path), watch)
        held = self._fetcher.bring(listing, "file", source, watch)
        return [replace(one, part=msgspec.structs.replace(one.part, scale=ref.scale)) for one in held]

    def _one(self, ref: FileRef, role: str, watch: Watch) -> Held:
        """A single file in a given role."""
        found = self._local(ref, watch) if ref.path else [self._uploaded(ref)]
        if len(found) != 1:
            raise BadRequest(f"The {role} must be one file.", hint="Name the file itself.", param=role)
        return replace(found[0], part=msgspec.structs.replace(found[0].part, role=role))

    def _companions(self, order: Create, held: tuple[Held, ...], watch: Watch) -> tuple[Held, ...]:
        """Adapters, projector and draft beside the weights; those of the base stay unless replaced."""
        found = list(held)

        def put(role: str, more: Sequence[Held]) -> None:
            found[:] = [one for one in found if one.part.role != role] + list(more)

        if order.adapters:
            put("adapter", [self._one(ref, "adapter", watch) for ref in order.adapters])
        if order.projector:
            put("projector", [self._one(order.projector, "projector", watch)])
        if order.draft:
            put("draft", [self._one(order.draft, "draft", watch)])
        if order.draft_model:
            _, draft = self._base(order.draft_model, watch)
            models = [one for one in draft if one.part.role == "model"]
            if len(models) != 1:
                raise Unsupported("A draft model must be a single GGUF file.", hint="Choose another.")
            put("draft", [replace(models[0], part=msgspec.structs.replace(models[0].part, role="draft"))])
        return tuple(found)


def safe_file(file: str) -> str:
    """A relative name that cannot leave its folder. Raises BadRequest."""
    pieces = file.replace("\\", "/").split("/")
    if any(piece in ("", ".", "..") or "\0" in piece or ":" in piece for piece in pieces) or len(file) > 255:
        raise BadRequest("A file has an impossible name.", hint="Use relative names.", param="files")
    return "/".join(pieces)


def _refuse_twins(found: Sequence[Held]) -> None:
    """Two files of one name cannot lie side by side. Raises BadRequest."""
    names = [one.part.file.casefold() for one in found if one.part.role in ("weights", "config")]
    if len(set(names)) != len(names):
        raise BadRequest("Two files have the same name.", hint="Send each once.", param="files")


def _in_order(models: Sequence[Held]) -> list[Held]:
    """The parts of a split model in order, under the names by which an engine finds the next from the
    first."""
    if len(models) < 2:
        return list(models)
    parts = sorted(models, key=lambda one: int(m[1]) if (m := _SPLIT.search(one.part.file)) else 0)
    stem = _SPLIT.sub("", Path(parts[0].part.file).name).removesuffix(".gguf") or "model"
    names = [f"{stem}-{number:05}-of-{len(parts):05}.gguf" for number in range(1, len(parts) + 1)]
    return [
        replace(one, part=msgspec.structs.replace(one.part, file=name))
        for one, name in zip(parts, names, strict=True)
    ]


def role_of(file: str, path: Path) -> str:
    """What a file is to a model, by its bytes; safetensors and small files by their names."""
    lower = file.lower()
    if lower.endswith(".safetensors"):
        return "weights"
    if lower.endswith((".json", ".txt", ".jinja", ".model")):
        return "config"
    kind = gguf_facts.kind_of(path)
    if kind == "imatrix":
        return "imatrix"
    if kind not in GGUF_ROLE:
        raise BadRequest(
            f"The file is no part of a model: it is '{kind}'.",
            hint="Give GGUF or safetensors files.",
            param="files",
        )
    return GGUF_ROLE[kind]


def _tuned(base: Tuning, order: Tuning) -> Tuning:
    """The order's settings over the base's."""
    changes = {f.name: value for f in fields(Tuning) if (value := getattr(order, f.name)) not in (None, "")}
    return replace(base, **changes)


def _making(order: Create, base: Manifest | None) -> Making:
    """The texts of the result: parameters merge, licences add up, the rest replaces what the base has."""
    template = "" if order.use_embedded_template else order.template
    written = (base.written_template or base.template) if base else ""
    licences = [base.licence if base else "", *order.licence]
    return Making(
        origin=(base.origin if base else "") or "created here",
        revision=base.revision if base else "",
        licence="\n".join(dict.fromkeys(text for text in licences if text)),
        system=(base.system if base else "") if order.system is None else order.system,
        template=written if template is None else template,
        messages=(base.messages if base else ()) if order.messages is None else order.messages,
        defaults={**(base.defaults if base else {}), **order.parameters},
        tuning=_tuned(base.tuning if base else Tuning(), order.tuning),
        labels=(base.labels if base else ()) if order.labels is None else order.labels,
        parent=order.base,
    )


__all__ = ["Creator", "Workshop", "role_of", "safe_file"]
