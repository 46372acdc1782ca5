"""One model out of one GGUF file or out of all the parts of a split one, and its table of tensors.

The parts of a split model say so themselves: ``split.no`` (from 0), ``split.count`` and
``split.tensors.count`` (of all parts together). Only the first has the other keys.
Source: ``tools/gguf-split`` of llama.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from ..core.errors import BadRequest, Unsupported
from .gguf import TENSORS_CEILING, Header, Tensor, read_header
from .gguf_bytes import malformed
from .gguf_fields import Fields
from .gguf_types import TENSOR_TYPES

PARTS_CEILING: Final = 4096
_NO, _COUNT, _TENSORS = "split.no", "split.count", "split.tensors.count"


class TensorRow(NamedTuple):
    """One tensor. ``shape`` in the order of the file, the fastest dimension first, as Ollama prints it;
    ``size`` in bytes; ``part`` counts files from 1."""

    name: str
    shape: list[int]
    type: str
    size: int
    part: int


def read_model(paths: Sequence[Path]) -> Header:
    """The joined header of one model: the keys of the first file, the tensors of all.

    Raises BadRequest (malformed, or parts that do not belong together), Unsupported when parts are
    missing, StoreError when a file cannot be read.
    """
    if not paths:
        raise BadRequest("A model needs at least one file.")
    headers: list[Header] = []
    count = 0
    for number, path in enumerate(paths, 1):
        headers.append(_read_part(path, number, len(paths)))
        count += len(headers[-1].tensors)
        if count > TENSORS_CEILING:
            raise malformed(8, f"the parts have more than {TENSORS_CEILING} tensors")
    _check_sequence(headers)
    return _joined(headers)


def _read_part(path: Path, number: int, count: int) -> Header:
    try:
        header = read_header(path)
    except BadRequest as error:
        if count > 1:
            raise BadRequest(f"part {number} of {count}: {error.message}", hint=error.hint) from error
        raise
    if number == 1:
        return header
    # Only its place and its tensors matter: let go of its bytes.
    return replace(
        header,
        values={key: header.values[key] for key in (_NO, _COUNT, _TENSORS) if key in header.values},
        tensors=tuple(tensor._replace(part=number - 1) for tensor in header.tensors),
        data=bytearray(),
    )


def _check_sequence(headers: Sequence[Header]) -> None:
    """The files must be all parts of one model, in order."""
    fields = [Fields(header) for header in headers]
    count = fields[0].whole(_COUNT, 0, PARTS_CEILING, 0) or 1
    numbers = [part.whole(_NO, 0, PARTS_CEILING, 0) + 1 for part in fields]
    for place, part in enumerate(fields, 1):
        if (part.whole(_COUNT, 0, PARTS_CEILING, 0) or 1) != count:
            raise part.refuse(_COUNT, f"of file {place} differs from that of the first file")
        if not 1 <= numbers[place - 1] <= count:
            raise part.refuse(_NO, f"is {numbers[place - 1] - 1} of {count} parts")
    missing = sorted(set(range(1, count + 1)) - set(numbers))
    if missing:
        names = ", ".join(map(str, missing[:10])) + (" ..." if len(missing) > 10 else "")
        raise Unsupported(
            f"The model is split into {count} GGUF files; missing: part {names}.",
            hint="Put all parts into one folder, or fetch the missing ones.",
        )
    for place, number in enumerate(numbers, 1):
        if number != place or place > count:
            raise fields[place - 1].refuse(_NO, f"of file {place} says part {number} of {count}")


def _joined(headers: Sequence[Header]) -> Header:
    first = headers[0]
    tensors: dict[str, Tensor] = {}
    for number, header in enumerate(headers, 1):
        for tensor in header.tensors:
            if tensor.name in tensors:
                raise malformed(header.tensors_at, f"part {number} has tensor '{tensor.name}' once more")
            tensors[tensor.name] = tensor
    for header in headers:
        claimed = header.values.get(_TENSORS, len(tensors))
        if claimed != len(tensors):
            raise Fields(header).refuse(_TENSORS, f"is {claimed}, but there are {len(tensors)} tensors")
    if not tensors:
        raise malformed(8, "it claims 0 tensors")
    return replace(first, tensors=tuple(tensors.values()))


def tensors(paths: Sequence[Path]) -> list[TensorRow]:
    """The table of tensors of one file of any kind, or of all parts of a split model, in file order."""
    joined = read_model(paths)
    return [
        TensorRow(t.name, list(t.shape), TENSOR_TYPES[t.type].name, t.size, t.part + 1)
        for t in joined.tensors
    ]
