"""What the API lists and shows, as text. Pure: JSON in, text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from . import output

Json = Mapping[str, Any]


def when(text: str) -> datetime | None:
    """An RFC 3339 time with any number of digits of a second; None where it is not one."""
    try:
        head, point, rest = text.partition(".")
        if point:
            digits = len(rest) - len(rest.lstrip("0123456789"))
            text = f"{head}.{rest[:digits][:6].ljust(6, '0')}{rest[digits:]}"
        moment = datetime.fromisoformat(text)
    except (ValueError, AttributeError, TypeError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def ago(text: str, now: datetime) -> str:
    """``2 hours ago``."""
    moment = when(text)
    return f"{output.distance((now - moment).total_seconds())} ago" if moment else "-"


def until(text: str, now: datetime) -> str:
    """``4 minutes from now``, ``Forever`` beyond a century, ``Stopping...`` when it is past."""
    moment = when(text)
    if moment is None:
        return "-"
    left = (moment - now).total_seconds()
    if left > 100 * 365 * 86400:
        return "Forever"
    return f"{output.distance(left)} from now" if left > 0 else "Stopping..."


def named(models: Sequence[Json], prefix: str) -> list[Json]:
    """Those whose name begins with ``prefix``, whatever the case."""
    return [m for m in models if str(m.get("name", "")).lower().startswith(prefix.lower())]


def models(entries: Sequence[Json], now: datetime) -> str:
    """The table of ``inhouse list``."""
    rows = [
        (
            str(m.get("name", "")),
            str(m.get("digest", ""))[:12],
            output.human_size(int(m.get("size") or 0)),
            ago(str(m.get("modified_at", "")), now),
        )
        for m in entries
    ]
    return output.table(("NAME", "ID", "SIZE", "MODIFIED"), rows)


def all_models(entries: Sequence[Json], others: Sequence[Json], now: datetime) -> str:
    """The table of ``inhouse list --all``: ours with where they come from, then those of others."""
    rows = [
        (
            str(m.get("name", "")),
            str(m.get("digest", ""))[:12],
            output.human_size(int(m.get("size") or 0)),
            ago(str(m.get("modified_at", "")), now),
            f"alias of {m['alias_of']}" if m.get("alias_of") else str(m.get("origin") or "-"),
        )
        for m in entries
    ]
    for m in others:
        at = datetime.fromtimestamp(float(m.get("modified_at") or 0), UTC).isoformat()
        size = output.human_size(int(m.get("size") or 0))
        rows.append((str(m.get("name", "")), "-", size, ago(at, now), f"in place: {m.get('program', '')}"))
    return output.table(("NAME", "ID", "SIZE", "MODIFIED", "ORIGIN"), rows)


def processor(size: int, on_gpu: int) -> str:
    """Where a model's bytes are: ``100% GPU``, ``41%/59% CPU/GPU``."""
    if on_gpu <= 0 or size <= 0:
        return "100% CPU"
    if on_gpu >= size:
        return "100% GPU"
    cpu = round((size - on_gpu) / size * 100)
    return f"{cpu}%/{100 - cpu}% CPU/GPU"


def running(entries: Sequence[Json], now: datetime) -> str:
    """The table of ``inhouse ps``: Ollama's columns, then slots in use, who waits, how fast it answers and by
    what it runs; below it what is worth knowing of each."""
    rows, notes = [], []
    for m in entries:
        size = int(m.get("size") or 0)
        engine = " ".join(str(m.get(part) or "") for part in ("build", "speculative")).strip()
        state = str(m.get("state") or "")
        rows.append(
            (
                str(m.get("name", "")),
                str(m.get("digest", ""))[:12],
                output.human_size(size),
                processor(size, int(m.get("size_vram") or 0)),
                str(m.get("context_length") or "-"),
                until(str(m.get("expires_at") or ""), now)
                if state in ("", "ready")
                else f"{state.capitalize()}...",
                f"{m.get('busy', 0)}/{m['slots']}" if m.get("slots") else "-",
                str(m.get("waiting", 0)),
                f"{float(m.get('tokens_per_second') or 0):.0f}" if m.get("busy") else "-",
                engine or str(m.get("engine") or "-"),
            )
        )
        notes += [f"{m.get('name')}: {text}" for text in m.get("notices") or []]
        if by := _kernels(m.get("kernels") or {}):
            notes.append(f"{m.get('name')}: {by}")
        if by := _names(m.get("waiting_by") or {}):
            notes.append(f"{m.get('name')}: waiting: {by}")
    header = ("NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL", "SLOTS", "WAITING", "TOK/S", "ENGINE")
    return "\n".join([output.table(header, rows), *map(output.clean, notes)])


def _kernels(told: Mapping[str, Any]) -> str:
    """``kernels (avx512-vnni): 168 q4_K, 29 q6_K tensors, 934 MB``; "" where the model runs without."""
    if not told:
        return ""
    if not told.get("on"):
        return f"kernels are off: {told.get('why') or 'no reason was given'}"
    counts = sorted((told.get("tensors") or {}).items(), key=lambda pair: -int(pair[1]))
    tensors = ", ".join(f"{count} {kind}" for kind, count in counts)
    size = output.human_size(int(told.get("bytes") or 0))
    return f"kernels ({told.get('isa')}): " + (f"{tensors} tensors, {size}" if tensors else "no tensors")


def _names(waiting: Mapping[str, Any]) -> str:
    """``alice 3, others 1``; "" where no key has a name."""
    if set(waiting) <= {"others"}:
        return ""
    return ", ".join(f"{name} {count}" for name, count in sorted(waiting.items()))


Rows = Sequence[Sequence[str]]


def _section(title: str, rows: Rows) -> str:
    """A title and its rows, each column as wide as its widest cell."""
    count = max(len(row) for row in rows)
    widths = [max((len(row[i]) for row in rows if i < len(row)), default=0) for i in range(count)]
    lines = (
        "    ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=False)).rstrip() for row in rows
    )
    return "\n".join([f"  {title}", *(f"    {line}" for line in lines)])


def _lines(text: str, limit: int) -> Rows:
    lines = [(line.strip(),) for line in text.strip().splitlines()]
    return [*lines[:limit], ("...",)] if len(lines) > limit else lines


def model(show: Json, *, verbose: bool = False) -> str:
    """The sections of ``inhouse show``; those without content are left out."""
    info, details = show.get("model_info") or {}, show.get("details") or {}
    family = info.get("general.architecture") or details.get("family")
    count = info.get("general.parameter_count")
    rows = [
        ("architecture", family),
        ("parameters", details.get("parameter_size") or (_count(count) if count else None)),
        ("context length", details.get("context_length") or info.get(f"{family}.context_length")),
        ("embedding length", details.get("embedding_length") or info.get(f"{family}.embedding_length")),
        ("quantization", details.get("quantization_level")),
        ("mix", _mix(show.get("tensors") or [])),
        ("vocabulary", f"{show['vocabulary']:,} tokens" if show.get("vocabulary") else None),
        ("template", _template(str(show.get("template") or ""))),
        ("requires", show.get("requires")),
        ("digest", str(show.get("digest") or "")[:12]),
        ("origin", show.get("origin")),
        ("revision", show.get("revision")),
        ("labels", ", ".join(show.get("labels") or ())),
    ]
    sections: list[tuple[str, Rows]] = [("Model", [(name, str(value)) for name, value in rows if value])]
    files = show.get("files") or []
    if verbose or len(files) > 1:
        sections.append(("Files", [_file(f) for f in files]))
    sections.append(("Capabilities", [(str(c),) for c in show.get("capabilities") or []]))
    parameters = [line.split(None, 1) for line in str(show.get("parameters") or "").splitlines()]
    sections.append(("Parameters", [p for p in parameters if p]))
    sections.append(("System", _lines(str(show.get("system") or ""), 10)))
    sections.append(("License", _lines(licence(show), 2)))
    if verbose:
        sections.append(("Metadata", [(k, _short(v)) for k, v in sorted(info.items())]))
        tensors = show.get("tensors") or []
        sections.append(("Tensors", [_tensor(t) for t in tensors]))
    return output.clean("\n\n".join(_section(title, rows) for title, rows in sections if rows))


def _mix(tensors: Sequence[Json]) -> str:
    """What the weights are made of: ``Q4_1 97%, F32 3%``, by bytes."""
    sizes: dict[str, int] = {}
    for tensor in tensors:
        sizes[str(tensor.get("type"))] = sizes.get(str(tensor.get("type")), 0) + int(tensor.get("size") or 0)
    total = sum(sizes.values())
    if not total:
        return ""
    largest = sorted(sizes.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{kind} {_percent(size / total)}" for kind, size in largest)


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "<1%"


def _template(text: str) -> str:
    return f"{len(text)} characters; see --template" if text else ""


def _tensor(tensor: Json) -> tuple[str, ...]:
    size = int(tensor.get("size") or 0)
    shape = " x ".join(str(n) for n in tensor.get("shape") or ())
    return (str(tensor["name"]), str(tensor["type"]), shape, output.human_size(size) if size else "")


def _file(file: Json) -> tuple[str, ...]:
    where = "in place" if file.get("in_place") else ""
    size = output.human_size(int(file.get("size") or 0))
    return (str(file.get("role")), str(file.get("file")), size, str(file.get("digest"))[7:19], where)


def licence(show: Json) -> str:
    """The licence text, of one or several."""
    text = show.get("license") or ""
    return "\n".join(map(str, text)) if isinstance(text, list) else str(text)


def _count(count: float) -> str:
    for unit, one in (("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if count >= one:
            return f"{count / one:.2f}{unit}"
    return f"{count:.0f}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
