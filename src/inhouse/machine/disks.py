"""The disk that a folder is or will be on."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import Final

import psutil

from .asking import number, read
from .machine import Disk

NETWORK: Final = frozenset(
    (
        *("nfs", "nfs3", "nfs4", "cifs", "smb2", "smb3", "smbfs", "afpfs", "webdav", "9p", "v9fs", "ceph"),
        *(
            "lustre",
            "glusterfs",
            "afs",
            "beegfs",
            "gpfs",
            "orangefs",
            "fuse.sshfs",
            "fuse.s3fs",
            "fuse.goofys",
        ),
        *("fuse.goofys", "fuse.rclone", "fuse.glusterfs", "fuse.gcsfuse", "fuse.mount-s3", "fuse.blobfuse2"),
    )
)
"""File systems whose bytes come over a network (or through a wall between systems, as slowly)."""


def disk(path: Path, root: Path = Path("/")) -> Disk:
    """Space, kind and file system; zeros and "" for what cannot be told. ``root`` is for tests."""
    here = path.absolute()
    while not here.exists() and here.parent != here:
        here = here.parent
    try:
        space = shutil.disk_usage(here)
    except OSError:
        return Disk()
    filesystem, device = _mounted(here, root)
    kind = "network" if filesystem in NETWORK else _kind(here, device, root)
    return Disk(space.total, space.free, kind, filesystem)


def _unescaped(text: str) -> str:
    """A path of mountinfo: blanks and backslashes stand there as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def mounts(root: Path) -> list[tuple[Path, str, str]]:
    """(place, file system, device) of what is mounted; a later one lies over an earlier at the same place."""
    text = read(root / "proc/self/mountinfo")
    if not text:
        return [(Path(p.mountpoint), p.fstype.lower(), p.device) for p in psutil.disk_partitions(all=True)]
    found = []
    for line in text.splitlines():
        fields, _, tail = line.partition(" - ")
        words, about = fields.split(" "), tail.split(" ")
        if len(words) >= 5 and len(about) >= 2:
            found.append((Path(_unescaped(words[4])), about[0], _unescaped(about[1])))
    return found


def _mounted(here: Path, root: Path) -> tuple[str, str]:
    """(file system, device) of the mount that ``here`` lies on."""
    over = [mount for mount in mounts(root) if here.is_relative_to(mount[0])]
    # The deepest; of several at one place the last, which lies on top.
    _, filesystem, device = max(
        enumerate(over), key=lambda pair: (len(pair[1][0].parts), pair[0]), default=(0, (here, "", ""))
    )[1]
    return filesystem, device


def _kind(here: Path, device: str, root: Path) -> str:
    """ssd, nvme or hdd where Linux tells: of the device number, or else of the device's name."""
    major, minor = divmod(here.stat().st_dev, 256)
    with contextlib.suppress(AttributeError):  # Windows has no such numbers, nor what is read below
        major, minor = os.major(here.stat().st_dev), os.minor(here.stat().st_dev)
    for place in (root / f"sys/dev/block/{major}:{minor}", root / f"sys/class/block/{Path(device).name}"):
        # A partition's folder lies in its disk's, which has the queue.
        for block in (place.resolve(), place.resolve().parent):
            if turning := read(block / "queue/rotational").strip():
                if any(part.startswith("nvme") for part in block.parts):
                    return "nvme"
                # A virtual disk turns or not as its host made it up.
                made_up = any(re.match(r"x?vd[a-z]", part) for part in block.parts)
                return "" if made_up else "hdd" if number(turning) else "ssd"
    return ""
