"""Makes a model from an order: a base, files, texts; quantised or converted on the way if asked."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Protocol

import msgspec

from ..core.create import Create, FileRef
from ..core.errors import BadRequest, InhouseError, ModelNotFound, NoSpace, Unsupported
from ..core.models import Card, ModelName, Tuning
from . import catalogue, gguf_facts
from .fetching import SLACK, Fetcher, Held
from .layout import Layout, guarded, hash_open, make_links, sync_file
from .making import Making, facts_of, manifest_of
from .manifest import Manifest, Part, Place, read, stamp_of
from .records import Records
from .sources import SOURCES, PullEvent, Watch

GGUF_ROLE = {"model": "model", "projector": "projector", "adapter": "adapter"}
PLAIN = ("F32", "F16", "BF16")
CONVERTING = 50e6
"""Bytes a second that llama.cpp's converter got through here, reading and writing."""
_SPLIT = re.compile(r"-([0-9]{5})-of-[0-9]{5}(?:\.gguf)?\Z", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Change:
    """What weights shall become. ``kind`` is a quantisation type, ``quantization`` what they are now."""

    kind: str
    quantization: str = ""
    imatrix: Path | None = None
    allow_requantize: bool = False


Say = Callable[[int, int, str], None]
"""Steps done, steps in all (0: unknown), and a remark."""


class Workshop(Protocol):
    """Tools that change weights, handed in: they live with the engines. Blocking; raise InhouseError."""

    def check(self, change: Change) -> str:
        """The type in its canonical spelling. Raises BadRequest for what cannot be."""
        ...

    def estimate(self, kind: str, parameters: int, size: int) -> int:
        """Bytes of the result, roughly."""
        ...

    def seconds(self, kind: str, size: int) -> float:
        """How long quantising ``size`` bytes takes here, roughly; the tool knows better on its way."""
        ...

    def quantize(self, source: Path, target: Path, change: Change, watch: Watch, say: Say) -> None: ...

    def convert(self, folder: Path, target: Path, outtype: str, watch: Watch, say: Say) -> None: ...

    def install(self, watch: Watch, say: Say) -> None:
        """Fetch and install what ``convert`` needs."""
        ...


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
        self._workshop = workshop
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
            held = self._quantized(order, held, watch)
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

    # -- changing weights ---------------------------------------------------------------------

    def _quantized(self, order: Create, held: tuple[Held, ...], watch: Watch) -> tuple[Held, ...]:
        """The same files with the weights in another type."""
        shop = self._workshop
        if shop is None:
            raise Unsupported("This server cannot change weights.", hint="Quantise on another machine.")
        facts = facts_of(held)
        models = [one for one in held if one.part.role == "model"]
        rest = [one for one in held if one.part.role in ("projector", "adapter", "draft")]
        change = Change(
            order.quantize,
            facts.quantization if models else "",
            self._one(order.imatrix, "imatrix", watch).path if order.imatrix else None,
            order.allow_requantize,
        )
        change = replace(change, kind=shop.check(change))
        with self._layout.workspace() as folder:
            size = sum(one.part.size for one in held if one.part.role in ("model", "weights"))
            wanted = shop.estimate(change.kind, facts.parameters, size)
            self._room(wanted + (0 if models else facts.parameters * 2))
            source = (
                self._first_of(models, folder)
                if models
                else self._converted(shop, held, folder, change, watch)
            )
            if models or change.kind not in PLAIN:
                was = facts.quantization or "F16"
                label = f"quantizing {was} model to {change.kind}"
                read = size if models else facts.parameters * 2
                time = _about(shop.seconds(change.kind, read))
                watch.say(PullEvent(f"{label} (about {wanted / 1e9:.2f} GB, roughly {time})"))
                target = folder / "model.gguf"
                shop.quantize(source, target, change, watch, steps(label, watch))
                source = target
            watch.say(PullEvent("verifying conversion"))
            made = self._adopt(source, f"{facts.architecture}-{change.kind}.gguf", watch)
        return (made, *rest)

    @staticmethod
    def _first_of(models: Sequence[Held], folder: Path) -> Path:
        """The path a tool is given: split models lie side by side under their own names."""
        if len(models) == 1:
            return models[0].path
        files = {Path(one.part.file).name: str(one.path) for one in models}
        with guarded("linking a model's files"):
            make_links(folder / "parts", files)
        return folder / "parts" / Path(models[0].part.file).name

    @staticmethod
    def _converted(shop: Workshop, held: Sequence[Held], folder: Path, change: Change, watch: Watch) -> Path:
        """A GGUF file of a safetensors model, in ``folder``."""
        target = folder / "converted.gguf"
        files = {one.part.file: str(one.path) for one in held if one.part.role in ("weights", "config")}
        with guarded("linking a model's files"):
            make_links(folder / "files", files)
        size = sum(one.part.size for one in held if one.part.role == "weights")
        watch.say(PullEvent(f"converting model ({size / 1e9:.2f} GB, roughly {_about(size / CONVERTING)})"))
        say = steps("converting model", watch)
        outtype = change.kind.lower() if change.kind in PLAIN else "f16"
        shop.convert(folder / "files", target, outtype, watch, say)
        return target

    def _room(self, needed: int) -> None:
        free = self._layout.free()
        if needed + SLACK > free:
            raise NoSpace(
                f"The result needs about {(needed + SLACK) >> 20} MiB of disk, {free >> 20} MiB are free.",
                hint="Free some space, e.g. with: inhouse rm MODEL, or: inhouse prune",
            )

    def _adopt(self, path: Path, file: str, watch: Watch) -> Held:
        """Check, hash and keep a file that a tool made."""
        gguf_facts.inspect(path)
        size = path.stat().st_size
        with guarded("storing weights"), path.open("rb", buffering=0) as opened:
            digest = "sha256:" + hash_open(opened, lambda done: watch.check())
        watch.say(PullEvent(f"creating new layer {digest}"))
        with guarded("storing weights"):
            sync_file(path)
        with self._layout.lock():
            blob = self._layout.adopt(path, digest)
        return Held(Part("model", file, digest, size), Place("", stamp_of(blob)), blob)


def _about(seconds: float) -> str:
    """``20 s``, ``7 min``, ``2 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{round(seconds / 3600)} h"


def steps(label: str, watch: Watch) -> Say:
    """Progress of a tool as events of a job."""

    def say(done: int, total: int, remark: str) -> None:
        watch.check()
        watch.say(PullEvent(f"{label}: {remark}" if remark else label, "", total, done))

    return say


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
