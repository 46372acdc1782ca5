"""Who is asked for GPUs on this machine, all at once, and what to do when one does not answer."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ..asking import Answer, ask, native
from ..cpu import sysctl
from ..machine import Backend, Gpu, Trouble
from . import amd, apple, intel, nvidia, pci, told, vulkan
from .merge import merged

_UNIFIED: Final = re.compile(r"\b(GB10|Thor|Orin|Xavier|Tegra|nvgpu)\b")
"""NVIDIA's parts whose GPU uses the machine's memory: their tools tell no size."""
_WSL_SMI: Final = "/usr/lib/wsl/lib/nvidia-smi"
_INVALID: Final = 2
"""How nvidia-smi ends when it does not know a field that was asked for."""
_ABSENT: Final = 3
"""How our native programs end where the library is not installed."""


@dataclass(frozen=True, slots=True)
class Heard:
    gpus: tuple[Gpu, ...] = ()
    troubles: tuple[Trouble, ...] = ()


def find(memory: int, container: str = "", root: Path = Path("/")) -> Heard:
    """All GPUs, and what could not be asked. ``memory``: the machine's. ``root`` is for tests.

    Programs are only run where their hardware can be. Never raises.
    """
    if sys.platform == "darwin":
        return _mac(memory)
    hints = pci.hints(root, memory)
    asked = [_nvidia] if hints.nvidia or shutil.which("nvidia-smi") else []
    asked += [_amd] if hints.has("amd") else []
    asked += [_intel] if hints.has("intel") else []
    asked += [_vulkan] if hints.render or sys.platform == "win32" else []
    heard = _all(asked)
    compute = _compute(hints, root)
    gpus = merged([*(one.gpus for one in heard), compute.gpus])
    gpus = tuple(pci.titled(_unified(gpu, memory)) for gpu in _visible(gpus, container))
    return Heard(gpus, (*compute.troubles, *(trouble for one in heard for trouble in one.troubles)))


def _all(asked: list[Callable[[], Heard]]) -> list[Heard]:
    """In this order, but all at once; their time is spent waiting for programs."""
    if not asked:
        return []
    with ThreadPoolExecutor(len(asked)) as pool:
        return [job.result() for job in [pool.submit(one) for one in asked]]


def _read(
    source: str, answer: Answer, parse: Callable[[str], tuple[Gpu, ...]], backends: tuple[Backend, ...] = ()
) -> Heard:
    """The GPUs of one answer, each with who told of it; or why there are none."""
    if answer.code == _ABSENT or (not answer.text and not answer.why):
        return Heard()
    if answer.why:
        return Heard(troubles=(Trouble(source, answer.why),))
    try:
        gpus = parse(answer.text)
    except told.Nonsense as error:
        return Heard(troubles=(Trouble(source, str(error)),))
    return Heard(tuple(replace(gpu, told=(source,), backends=backends) for gpu in gpus))


def _plain(vendor: str) -> Callable[[str], tuple[Gpu, ...]]:
    return lambda text: tuple(gpu for gpu, _ in told.natives(text, vendor))


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _nvidia() -> Heard:
    heard = Heard()
    if _importable("pynvml"):
        heard = _read("nvml", native("nvidia"), _plain("nvidia"), ("cuda",))
        if heard.gpus:
            return heard
    program = shutil.which("nvidia-smi") or _WSL_SMI
    answer = ask(program, *nvidia.QUERY)
    table = _read("nvidia-smi", answer, nvidia.csv, ("cuda",))
    if not table.gpus and answer.code == _INVALID:
        table = _read("nvidia-smi", ask(program, *nvidia.XML), nvidia.xml, ("cuda",))
    return table if table.gpus else Heard(troubles=(*heard.troubles, *table.troubles))


def _amd() -> Heard:
    heard = _read("amdsmi", native("amd"), _plain("amd")) if _importable("amdsmi") else Heard()
    if heard.gpus:
        return heard
    smi = _read("rocm-smi", ask("rocm-smi", *amd.SMI), amd.smi)
    return smi if smi.gpus else Heard(troubles=(*heard.troubles, *smi.troubles))


def _intel() -> Heard:
    """Level Zero is what SYCL builds stand on, so only what it tells of can be used by them."""
    zero = _read("level-zero", native("intel"), _plain("intel"), ("sycl",))
    smi = _read("xpu-smi", ask("xpu-smi", *intel.DISCOVER), intel.xpu_smi)
    return Heard(merged((zero.gpus, smi.gpus)), (*zero.troubles, *smi.troubles))


def _vulkan() -> Heard:
    def devices(text: str) -> tuple[Gpu, ...]:
        return _named(told.natives(text, "other"))

    def summary(text: str) -> tuple[Gpu, ...]:
        return _named(vulkan.summary(text))

    heard = _read("vulkan", native("vulkan"), devices, ("vulkan",))
    if not heard.troubles:
        return heard
    other = _read("vulkaninfo", ask("vulkaninfo", *vulkan.SUMMARY), summary, ("vulkan",))
    return Heard(other.gpus, (*heard.troubles, *other.troubles))


def _named(gpus: Iterable[tuple[Gpu, str]]) -> tuple[Gpu, ...]:
    named = (vulkan.named(gpu, kind) for gpu, kind in gpus)
    return tuple(gpu for gpu in named if gpu)


def _compute(hints: pci.Hints, root: Path) -> Heard:
    """The cards of the bus; AMD's with ROCm where this user may open the compute driver."""
    device = root / "dev/kfd"
    usable = os.access(device, os.R_OK | os.W_OK)
    gpus = tuple(
        replace(card, backends=("rocm",)) if usable and card.vendor == "amd" and card.capability else card
        for card in hints.cards
    )
    if hints.has("amd") and device.exists() and not usable:
        return Heard(gpus, (Trouble("rocm", "this user may not open /dev/kfd"),))
    return Heard(gpus)


def _visible(gpus: tuple[Gpu, ...], container: str) -> tuple[Gpu, ...]:
    """In a container the bus shows the host's cards, also those that were not handed in."""
    usable = {gpu.vendor for gpu in gpus if gpu.backends}
    return tuple(g for g in gpus if g.backends or not container or g.vendor not in usable)


def _unified(gpu: Gpu, memory: int) -> Gpu:
    if gpu.vendor == "nvidia" and _UNIFIED.search(gpu.name):
        return replace(gpu, shared=True, memory=gpu.memory or memory)
    return gpu


def _mac(memory: int) -> Heard:
    wired = sysctl(ask("sysctl", "iogpu.wired_limit_mb").text).get("iogpu.wired_limit_mb", "0")
    limit = int(wired) if wired.isdigit() else 0
    answer = ask("system_profiler", *apple.DISPLAYS)
    heard = _read("system_profiler", answer, lambda text: apple.system_profiler(text, memory, limit))
    gpus = (replace(gpu, backends=("metal",)) if gpu.vendor == "apple" else gpu for gpu in heard.gpus)
    return Heard(tuple(gpus), heard.troubles)
