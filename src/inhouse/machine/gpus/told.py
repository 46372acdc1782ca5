"""GPUs as one of our native programs, or any tool that speaks JSON, tells of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ..machine import MOST, Gpu

_NAME_CEILING: Final = 200
_FIELDS: Final = ("memory", "free", "driver", "shared", "capability", "cuda", "uuid", "pci", "device")


class Nonsense(ValueError):
    """A tool's answer that is not of its form. The message says so in a few words."""


def loaded(text: str) -> Any:
    """JSON that may have chatter before it (warnings on the same stream). Raises Nonsense."""
    start = min((at for at in (text.find("{"), text.find("[")) if at >= 0), default=-1)
    try:
        return json.loads(text[start:]) if start >= 0 else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Nonsense("its answer is not JSON") from error


def clean(text: object) -> str:
    """A name in printable characters, of bounded length."""
    shown = "".join(c if c.isprintable() else " " for c in str(text)[: 2 * _NAME_CEILING])
    return " ".join(shown.split())[:_NAME_CEILING]


def mib(text: str) -> int:
    """``81559 MiB`` or ``81559`` in bytes; 0 for [N/A] and the like."""
    match = re.fullmatch(r"(\d{1,9})(?: MiB)?", text.strip())
    return int(match[1]) * 2**20 if match else 0


def whole(value: object) -> int:
    """A size in bytes, as a number or as its digits; 0 for anything else."""
    text = str(value).strip()
    found = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
    return found if found <= MOST else 0


def address(text: str) -> str:
    """A PCI address as Linux writes it; NVIDIA gives the domain eight digits. "" for anything else."""
    match = re.fullmatch(r"(?:0*([0-9a-f]{1,8}):)?([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])", text.strip().lower())
    return f"{int(match[1] or '0', 16):04x}:{match[2]}:{match[3]}.{match[4]}" if match else ""


def natives(text: str, vendor: str) -> tuple[tuple[Gpu, str], ...]:
    """(GPU, its kind) from the answer of a program in ``natives``. Raises Nonsense."""
    try:
        rows = loaded(text)["gpus"]
        return tuple((_gpu(row, vendor), str(row.get("kind", ""))) for row in rows)
    except (LookupError, TypeError, AttributeError, msgspec.ValidationError) as error:
        raise Nonsense("its answer has another form than expected") from error


def _gpu(row: Mapping[str, Any], vendor: str) -> Gpu:
    facts = {name: row[name] for name in _FIELDS if name in row}
    for name in ("driver", "capability", "cuda", "uuid", "device"):
        facts[name] = clean(facts.get(name, ""))
    facts["pci"] = address(str(facts.get("pci", "")))
    return msgspec.convert({"vendor": vendor, "name": clean(row["name"]), **facts}, Gpu)
