"""Weights in another form: quantised, or converted from safetensors, by tools that are handed in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from ..core.create import Create
from ..core.errors import Unsupported
from . import gguf_facts
from .fetching import Held
from .layout import Layout, guarded, hash_open, make_links, sync_file
from .making import facts_of
from .manifest import Part, Place, stamp_of
from .sources import PullEvent, Watch

PLAIN: Final = ("F32", "F16", "BF16")
CONVERTING: Final = 50e6
"""Bytes a second that llama.cpp's converter got through here, reading and writing."""


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


class Reworker:
    """Changes the weights of a model on its way into the store. Blocking."""

    def __init__(self, layout: Layout, workshop: Workshop | None) -> None:
        self._layout = layout
        self._workshop = workshop

    def run(
        self, order: Create, held: tuple[Held, ...], imatrix: Path | None, watch: Watch
    ) -> tuple[Held, ...]:
        """The same files with the weights in the type that the order wants. Raises what tools do."""
        shop = self._workshop
        if shop is None:
            raise Unsupported("This server cannot change weights.", hint="Quantise on another machine.")
        facts = facts_of(held)
        models = [one for one in held if one.part.role == "model"]
        rest = [one for one in held if one.part.role in ("projector", "adapter", "draft")]
        change = Change(
            order.quantize,
            facts.quantization if models else "",
            imatrix,
            order.allow_requantize,
        )
        change = replace(change, kind=shop.check(change))
        with self._layout.workspace() as folder:
            size = sum(one.part.size for one in held if one.part.role in ("model", "weights"))
            wanted = shop.estimate(change.kind, facts.parameters, size)
            self._layout.need(wanted + (0 if models else facts.parameters * 2), "The result needs about")
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


__all__ = ["Change", "Reworker", "Say", "Workshop", "steps"]
