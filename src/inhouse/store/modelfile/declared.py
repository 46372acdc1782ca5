"""Inhouse's own model file, in TOML or YAML: all that a Modelfile says, and how the model is run.

The schema is File; docs/reference/model-file.md tells it to users. YAML is read without anchors, aliases and
tags, so that no file grows beyond what is written in it.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, NoReturn

import msgspec

from ...core.create import IDLE, Create, FileRef, option
from ...core.errors import BadRequest, Unsupported
from ...core.models import Tuning
from .places import TEXT_LONGEST, Place
from .reader import Reading

MAX_DEPTH: Final = 20
MAX_SCALE: Final = 1000.0

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"(?:\d{1,9}(?:\.\d{1,3})?(?:ms|s|m|h))+\Z", re.ASCII)
_PART: Final = re.compile(r"([\d.]+)(ms|s|m|h)", re.ASCII)
_HINT: Final = "The reference of the model file lists every key."
_INT32: Final = 2**31 - 1

Scale = Annotated[float, msgspec.Meta(ge=-MAX_SCALE, le=MAX_SCALE)]
Count = Annotated[int, msgspec.Meta(ge=1, le=4096)]


class Adapter(msgspec.Struct, forbid_unknown_fields=True):
    path: str
    scale: Scale = 1.0


class Message(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["system", "user", "assistant"]
    content: str


class Engine(msgspec.Struct, forbid_unknown_fields=True):
    """Seconds or a duration such as ``10m`` in ``keep_alive``; negative is for ever."""

    kind: str = ""
    context_length: Annotated[int, msgspec.Meta(ge=4, le=_INT32)] | None = None
    slots: Count | None = None
    threads: Count | None = None
    gpu_layers: Annotated[int, msgspec.Meta(ge=-1, le=_INT32)] | None = None
    kv_cache_type: Literal["", "f16", "q8_0", "q4_0"] = ""
    speculative: Literal[
        "",
        "auto",
        "none",
        "ngram",
        "ngram-map-k",
        "ngram-map-k4v",
        "ngram-mod",
        "ngram-cache",
        "draft",
        "mtp",
    ] = ""
    keep_alive: int | float | str | None = None


class File(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The whole file. Texts that name files are paths relative to its folder."""

    base: str = msgspec.field(name="from", default="")
    files: list[str] = []
    projector: str = ""
    adapters: list[str | Adapter] = []
    draft: str = ""
    template: str | None = None
    template_file: str = ""
    use_embedded_template: bool = False
    system: str | None = None
    licence: str | list[str] = []
    parameters: dict[str, Any] = {}
    messages: list[Message] | None = None
    engine: Engine = msgspec.field(default_factory=Engine)
    aliases: list[str] = []
    labels: list[str] | None = None
    quantize: str = ""
    allow_requantize: bool = False
    imatrix: str = ""


def parse_declared(data: bytes | str, kind: str, *, name: str, place: Place) -> Reading:
    """A model file of ``kind`` toml, yaml or yml as an order to make ``name``.

    Raises BadRequest that names the key and where it stands; Unsupported where PyYAML is missing.
    """
    if len(data) > TEXT_LONGEST:
        _refuse("it is longer than 1 MiB", "Put weights and long texts into files of their own.")
    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
    except UnicodeDecodeError as error:
        raise BadRequest("The model file is not UTF-8 text.", hint="Save it as UTF-8.") from error
    raw = _toml(text) if kind == "toml" else _yaml(text)
    try:
        file = msgspec.convert(raw, File)
    except msgspec.ValidationError as error:
        raise BadRequest(f"The model file cannot be used: {error}.", hint=_HINT) from error
    said = [
        f"parameters.{idle} changes nothing: {why}." for idle, why in IDLE.items() if idle in file.parameters
    ]
    return Reading(_create(file, name, place), tuple(said))


def _refuse(what: str, hint: str = _HINT) -> NoReturn:
    raise BadRequest(f"The model file cannot be used: {what}.", hint=hint)


def _toml(text: str) -> Any:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        # Also a number of too many digits, which is no TOMLDecodeError.
        raise BadRequest(f"The model file is no TOML: {str(error)[:200]}.", hint=_HINT) from error
    except RecursionError as error:
        raise BadRequest("The model file is nested too deeply.", hint=_HINT) from error


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise Unsupported(
            "Model files in YAML need PyYAML.", hint="pip install pyyaml, or write the file in TOML."
        ) from error
    # Both are safe; the one in C is fast.
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_events(yaml.parse(text, Loader=loader))
        _check_keys(yaml.compose(text, Loader=loader))
        return yaml.load(text, Loader=loader)  # noqa: S506
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or "it cannot be read"
        raise BadRequest(f"The model file is no YAML: {line}{problem}.", hint=_HINT) from error
    except (ValueError, TypeError) as error:
        # A date that is none, a key that is a list.
        raise BadRequest("The model file has a value that YAML cannot hold.", hint=_HINT) from error


def _check_events(events: Iterable[Any]) -> None:
    """What would let a small file grow, or need a deep stack."""
    depth = 0
    for event in events:
        line = event.start_mark.line + 1
        if getattr(event, "anchor", None) or getattr(event, "tag", None):
            _refuse(f"line {line}: anchors, aliases and tags have no place here", "Write the value out.")
        kind = type(event).__name__
        depth += kind.endswith(("MappingStartEvent", "SequenceStartEvent"))
        depth -= kind.endswith(("MappingEndEvent", "SequenceEndEvent"))
        if depth > MAX_DEPTH:
            _refuse(f"line {line}: it is nested deeper than {MAX_DEPTH} levels")


def _check_keys(node: Any) -> None:
    """PyYAML lets the last of two equal keys win in silence."""
    if node is None or isinstance(node.value, str):
        return
    if node.id == "sequence":
        for item in node.value:
            _check_keys(item)
        return
    seen = set()
    for key, value in node.value:
        if not isinstance(key.value, str) or key.value in seen or key.value == "<<":
            _refuse(f"line {key.start_mark.line + 1}: a key that is no text, or stands there twice")
        seen.add(key.value)
        _check_keys(value)


def _create(file: File, name: str, place: Place) -> Create:
    base, files = _weights(file, place)
    draft = place.model(file.draft, "draft") if file.draft else ""
    if file.imatrix and not file.quantize:
        _refuse("imatrix needs quantize beside it")
    return Create(
        name=name,
        base=base,
        files=files,
        adapters=tuple(_adapter(place, i, each) for i, each in enumerate(file.adapters)),
        projector=place.file(file.projector, "projector") if file.projector else None,
        draft=draft if isinstance(draft, FileRef) else None,
        draft_model=draft if isinstance(draft, str) else "",
        template=_template(file, place),
        use_embedded_template=file.use_embedded_template,
        system=file.system,
        licence=(file.licence,) if isinstance(file.licence, str) else tuple(file.licence),
        parameters=_parameters(file),
        messages=None if file.messages is None else tuple((m.role, m.content) for m in file.messages),
        tuning=_tuning(file.engine),
        labels=None if file.labels is None else tuple(file.labels),
        aliases=tuple(file.aliases),
        quantize=file.quantize,
        allow_requantize=file.allow_requantize,
        imatrix=place.file(file.imatrix, "imatrix") if file.imatrix else None,
    )


def _weights(file: File, place: Place) -> tuple[str, tuple[FileRef, ...]]:
    """The base, or the files in its place."""
    if bool(file.base) == bool(file.files):
        _refuse("it takes either from or files", 'Say what to build on: from = "smollm2"')
    files = tuple(place.file(path, f"files[{i}]") for i, path in enumerate(file.files))
    base = place.model(file.base, "from") if file.base else ""
    return (base, files) if isinstance(base, str) else ("", (base,))


def _adapter(place: Place, index: int, given: str | Adapter) -> FileRef:
    adapter = Adapter(given) if isinstance(given, str) else given
    return place.file(adapter.path, f"adapters[{index}]", adapter.scale)


def _template(file: File, place: Place) -> str | None:
    said = [bool(file.template), bool(file.template_file), file.use_embedded_template]
    if sum(said) > 1:
        _refuse("template, template_file and use_embedded_template exclude each other")
    return place.text(file.template_file, "template_file") if file.template_file else file.template or None


def _parameters(file: File) -> dict[str, Any]:
    if "num_ctx" in file.parameters and file.engine.context_length is not None:
        _refuse("parameters.num_ctx and engine.context_length say the same", "Keep one of them.")
    return {name: option(name, value) for name, value in file.parameters.items()}


def _tuning(engine: Engine) -> Tuning:
    return Tuning(
        engine=engine.kind,
        context_length=engine.context_length,
        slots=engine.slots,
        threads=engine.threads,
        gpu_layers=engine.gpu_layers,
        kv_cache_type=engine.kv_cache_type,
        speculative=engine.speculative,
        keep_alive=None if engine.keep_alive is None else _seconds(engine.keep_alive),
    )


def _seconds(value: float | str) -> float:
    """Seconds of a number, or of a duration like ``1h30m``; negative is for ever."""
    if isinstance(value, str):
        if not _DURATION.match(value):
            _refuse("engine.keep_alive takes seconds or a duration like 10m", "-1 keeps it for ever.")
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))
    if not abs(value) < 2**53:
        _refuse("engine.keep_alive takes seconds or a duration like 10m", "-1 keeps it for ever.")
    return math.inf if value < 0 else float(value)
