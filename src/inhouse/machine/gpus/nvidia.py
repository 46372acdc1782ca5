"""What ``nvidia-smi`` prints."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final
from xml.etree import ElementTree

from ..machine import Gpu
from .told import Nonsense, address, clean, mib

QUERY: Final = (
    "--query-gpu=name,memory.total,memory.free,driver_version,compute_cap,uuid,pci.bus_id,pci.device_id",
    "--format=csv,noheader,nounits",
)
XML: Final = ("-q", "-x")
"""For drivers before 510, which know no ``compute_cap``."""

_CUDA: Final = (
    (580, "13.0"),
    (575, "12.9"),
    (570, "12.8"),
    (565, "12.7"),
    (560, "12.6"),
    (555, "12.5"),
    (550, "12.4"),
    (545, "12.3"),
    (535, "12.2"),
    (530, "12.1"),
    (525, "12.0"),
    (520, "11.8"),
    (515, "11.7"),
    (510, "11.6"),
    (495, "11.5"),
    (470, "11.4"),
    (465, "11.3"),
    (460, "11.2"),
    (455, "11.1"),
    (450, "11.0"),
)
"""The newest CUDA of each driver branch (CUDA toolkit release notes, table of driver versions)."""


def cuda_of(driver: str) -> str:
    """The newest CUDA that a driver of this version runs, at least; "" for those too old for any build."""
    match = re.match(r"(\d{3,4})\.", driver + ".")
    branch = int(match[1]) if match else 0
    return next((cuda for least, cuda in _CUDA if branch >= least), "")


def csv(text: str) -> tuple[Gpu, ...]:
    """The rows of ``QUERY``. Raises Nonsense."""
    found = []
    for line in filter(str.strip, text.splitlines()):
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != 8 or not cells[0] or not re.fullmatch(r"[\d.]+", cells[3]):
            raise Nonsense("its answer has another form than expected")
        name, total, free, driver, capability, uuid, pci, device = cells
        gpu = _gpu((name, mib(total), mib(free), driver), uuid, pci, _device(device))
        found.append(replace(gpu, capability=capability if re.fullmatch(r"\d+\.\d+", capability) else ""))
    return tuple(found)


def xml(text: str) -> tuple[Gpu, ...]:
    """``nvidia-smi -q -x``. Raises Nonsense."""
    if "<!ENTITY" in text:
        raise Nonsense("its answer defines entities")
    try:
        log = ElementTree.fromstring(text)  # noqa: S314 - entities are refused above
    except ElementTree.ParseError as error:
        raise Nonsense("its answer is not XML") from error
    driver, cuda = log.findtext("driver_version", "").strip(), log.findtext("cuda_version", "").strip()
    found = []
    for one in log.iter("gpu"):
        total, free = (mib(one.findtext(f"fb_memory_usage/{part}", "")) for part in ("total", "free"))
        name, uuid = one.findtext("product_name", ""), one.findtext("uuid", "")
        device = _device("0x" + one.findtext("pci/pci_device_id", ""))
        gpu = _gpu((name, total, free, driver), uuid, one.get("id", ""), device)
        found.append(replace(gpu, cuda=cuda) if re.fullmatch(r"\d+\.\d+", cuda) else gpu)
    return tuple(found)


def _device(word: str) -> str:
    """``0x233010DE`` holds the device above the vendor."""
    match = re.fullmatch(r"0x([0-9a-fA-F]{4})10de", word.replace("DE", "de"))
    return f"10de:{match[1].lower()}" if match else ""


def _gpu(facts: tuple[str, int, int, str], uuid: str, pci: str, device: str) -> Gpu:
    name, total, free, driver = facts
    return Gpu(
        "nvidia",
        clean(name),
        total,
        free,
        clean(driver),
        cuda=cuda_of(driver),
        uuid=clean(uuid) if uuid.startswith("GPU-") else "",
        pci=address(pci),
        device=device,
    )
