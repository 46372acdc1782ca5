"""What our native kernels tell of themselves: whether they are on, why not, and for which tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

LABEL: Final = " + kernels "
"""What stands between a build's version and that of our kernels, where it computes with them."""
ATTENTION: Final = "attention"
"""Beside the types of weights: whether attention is computed by them, too."""
LARGEST: Final = 2**16
"""Bytes of a report that is read."""


@dataclass(frozen=True, slots=True)
class Report:
    """As the library writes it: ``version`` of the library, whether it is ``on`` and ``why`` not, the
    instruction set ``isa`` that it uses, and why one that seemed better is ``passed_over``. ``types``: by
    GGUF type why its kernel is not used, "" if it is, and so of ``ATTENTION``; ``tensors``: how many of each
    type it computes with, ``bytes`` what they take."""

    version: str = ""
    on: bool = False
    why: str = ""
    isa: str = ""
    passed_over: str = ""
    types: Mapping[str, str] = field(default_factory=dict)
    tensors: Mapping[str, int] = field(default_factory=dict)
    bytes: int = 0

    @property
    def enabled(self) -> tuple[str, ...]:
        """The types whose kernels passed their tests."""
        return tuple(name for name, why in self.types.items() if not why and name != ATTENTION)

    def facts(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return asdict(self)


def parse(data: bytes) -> Report | None:
    """A report from its JSON; None where it is none. Fields that it lacks are empty."""
    try:
        told = json.loads(data)
        return Report(
            version=_text(told.get("version", "")),
            on=told.get("on") is True,
            why=_text(told.get("why", "")),
            isa=_text(told.get("isa", "")),
            passed_over=_text(told.get("passed_over", "")),
            types={_text(name): _text(why) for name, why in told.get("types", {}).items()},
            tensors={_text(name): int(count) for name, count in told.get("tensors", {}).items()},
            bytes=int(told.get("bytes", 0)),
        )
    except (ArithmeticError, AttributeError, RecursionError, TypeError, ValueError):
        return None


def read(path: str | Path) -> Report | None:
    """The report in a file; None where there is none ("" is no file). Blocking, but short."""
    if not path:
        return None
    try:
        with open(path, "rb") as file:
            return parse(file.read(LARGEST))
    except OSError:
        return None


def _text(value: object) -> str:
    """A short line that can be shown. Raises TypeError."""
    if not isinstance(value, str):
        raise TypeError("not a text")
    return "".join(c if c.isprintable() else " " for c in value[:200])
