"""What ``inhouse doctor`` says of GPUs: usable or not, why not, and what to install."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from .machine import Gpu, Machine, Trouble

Facts = tuple[Literal["ok", "note", "warn", "missing"], str, str, str]
"""Level, what, detail, fix."""

_GIB: Final = 2**30
_LEAST_CUDA: Final = 12
_CONTAINERS: Final = ("docker", "podman", "kubernetes", "lxc")
_HANDED: Final = {
    "nvidia": "Hand it to the container: docker run --gpus all (needs nvidia-container-toolkit).",
    "amd": "Hand it to the container: docker run --device /dev/kfd --device /dev/dri.",
    "intel": "Hand it to the container: docker run --device /dev/dri.",
}
_DRIVERS: Final = {
    "nvidia": "Install NVIDIA's driver, so that nvidia-smi answers.",
    "amd": "Install the amdgpu driver and Mesa's Vulkan driver (mesa-vulkan-drivers), or ROCm.",
    "intel": "Install Mesa's Vulkan driver (mesa-vulkan-drivers), or Intel's runtime with Level Zero.",
}
_FIXES: Final = {
    "nvidia-smi": "Run nvidia-smi: if it does not answer at once, install NVIDIA's driver anew.",
    "rocm": "Add this user to the groups of /dev/kfd: sudo usermod -aG render,video $USER, then log in anew.",
    "level-zero": "Install Intel's compute runtime (libze-intel-gpu1) if you want the SYCL build.",
    "memory bandwidth": "Try it again: inhouse doctor --measure",
}


def findings(
    machine: Machine, engines: Sequence[Mapping[str, Any]], builds: Sequence[Mapping[str, Any]]
) -> list[Facts]:
    """One for each GPU, one for each way of asking that failed; one that says there is none.

    ``engines`` and ``builds`` as for ``findings.findings``.
    """
    usable = {str(engine.get("backend")) for engine in engines if engine.get("ok")}
    found = [_gpu(gpu, machine, usable, builds) for gpu in machine.gpus]
    if not found:
        found = [("note", "gpu", "none found; models run on the CPU", "")]
    return [*found, *(_trouble(trouble) for trouble in machine.troubles)]


def described(gpu: Gpu) -> str:
    """``NVIDIA L4: 23.0 GiB, 21.9 GiB free, compute capability 8.9, driver 550.54 (CUDA 12.4)``."""
    size = f"{gpu.memory / _GIB:.1f} GiB"
    parts = [f"up to {size} of the machine's memory" if gpu.shared and gpu.memory else ""]
    parts = ["shares the machine's memory"] if gpu.shared and not gpu.memory else parts
    if not gpu.shared:
        parts = [size if gpu.memory else "memory unknown"]
        parts += [f"{gpu.free / _GIB:.1f} GiB free"] if gpu.free else []
    if gpu.capability:
        parts.append(f"compute capability {gpu.capability}" if gpu.vendor == "nvidia" else gpu.capability)
    cuda = f" (CUDA {gpu.cuda})" if gpu.cuda else ""
    parts.append(f"driver {gpu.driver}{cuda}" if gpu.driver else "no driver")
    if gpu.vendor == "apple":
        parts = parts[:1]
    return f"{gpu.name}: " + ", ".join(filter(None, parts))


def _gpu(gpu: Gpu, machine: Machine, usable: set[str], builds: Sequence[Mapping[str, Any]]) -> Facts:
    detail = described(gpu)
    if not gpu.backends:
        if machine.container in _CONTAINERS and gpu.vendor in _HANDED:
            return "warn", "gpu", f"{detail}; not handed to this container", _HANDED[gpu.vendor]
        fix = _DRIVERS.get(gpu.vendor, "Install its Vulkan driver.")
        return "warn", "gpu", f"{detail}; nothing here can compute on it", fix
    if ways := usable & set(gpu.backends):
        return "ok", "gpu", f"{detail}; used through {', '.join(sorted(ways))}", ""
    if gpu.backends == ("cuda",) and _too_old(gpu):
        fix = "Update NVIDIA's driver to version 525 or later."
        return "warn", "gpu", f"{detail}; its driver is too old for CUDA {_LEAST_CUDA} builds", fix
    fitting = [build for build in builds if build["backend"] in gpu.backends]
    for build in fitting:
        if not build["why"]:
            fix = f"Install a build that does: inhouse engine install {build['name']}"
            return "note", "gpu", f"{detail}; no installed engine build uses it", fix
    why = f" ({fitting[0]['why']})" if fitting else ""
    return "note", "gpu", f"{detail}; no engine build can use it{why}", "See: inhouse engine list"


def _too_old(gpu: Gpu) -> bool:
    major = gpu.cuda.partition(".")[0]
    return not major.isdigit() or int(major) < _LEAST_CUDA


def _trouble(trouble: Trouble) -> Facts:
    fix = _FIXES.get(trouble.source, "")
    return ("warn" if fix else "note"), f"asking {trouble.source}", trouble.why, fix
