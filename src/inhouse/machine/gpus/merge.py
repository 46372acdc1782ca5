"""One GPU told of by several witnesses is one GPU."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..machine import Gpu


def merged(witnesses: Iterable[Sequence[Gpu]]) -> tuple[Gpu, ...]:
    """All GPUs once. The best witness comes first: later ones only add what was not told."""
    found: list[Gpu] = []
    for gpus in witnesses:
        # Of one witness's GPUs two that look alike are two, but two at the same place are one told twice
        # (two Vulkan drivers for it).
        free = set(range(len(found)))
        for gpu in gpus:
            index = next((n for n, one in enumerate(found) if _certain(one, gpu)), None)
            if index is None:
                index = next((n for n in sorted(free) if _likely(found[n], gpu)), None)
            if index is None:
                found.append(gpu)
            else:
                free.discard(index)
                found[index] = _joined(found[index], gpu)
    return tuple(found)


def _id(uuid: str) -> str:
    return re.sub(r"[^0-9a-f]", "", uuid.lower().removeprefix("gpu-"))


def _certain(one: Gpu, other: Gpu) -> bool:
    if one.pci and other.pci:
        return one.pci == other.pci
    return bool(one.uuid and other.uuid) and _id(one.uuid) == _id(other.uuid)


def _likely(one: Gpu, other: Gpu) -> bool:
    """Same maker and model, where at least one of them tells no place."""
    if one.vendor != other.vendor or (one.pci and other.pci):
        return False
    if one.device and other.device:
        return one.device == other.device
    names = [_words(gpu.name) for gpu in (one, other)]
    return not all(names) or names[0] <= names[1] or names[1] <= names[0]


def _words(name: str) -> set[str]:
    """Of a name; what stands in brackets is (R), or a driver's."""
    return set(re.sub(r"\W+", " ", re.sub(r"\([^)]*\)", " ", name.lower())).split())


def _joined(one: Gpu, other: Gpu) -> Gpu:
    return replace(
        one,
        name=one.name or other.name,
        memory=one.memory or other.memory,
        free=one.free or other.free,
        driver=one.driver or other.driver,
        shared=one.shared or other.shared,
        capability=one.capability or other.capability,
        cuda=one.cuda or other.cuda,
        uuid=one.uuid or other.uuid,
        pci=one.pci or other.pci,
        device=one.device or other.device,
        backends=tuple(dict.fromkeys((*one.backends, *other.backends))),
        told=tuple(dict.fromkeys((*one.told, *other.told))),
    )
