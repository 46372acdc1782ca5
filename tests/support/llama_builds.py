"""Stand-ins for builds of llama.cpp: programs that answer as llama-server does, archives of them."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from inhouse.core.errors import DigestMismatch, NotFound
from inhouse.engines.variants.origin import Wanted

HELP = (
    "--ctx-size N --threads N --batch-size N --ubatch-size N --gpu-layers N --cache-type-k T --model FNAME"
    " --host HOST .sock --port PORT --parallel N --pooling T --load-mode M --cache-ram N --jinja --metrics"
    " --slots --embeddings --list-devices"
)


def script(
    *,
    version: str = "123 (abc)",
    devices: tuple[str, ...] = (),
    broken: str = "",
    loading: str = "",
    code: int = 127,
) -> bytes:
    """A llama-server. ``broken`` is all it says, with exit ``code``; ``loading`` what it says when it is to
    load a model."""
    if broken:
        return f"#!/bin/sh\ncat >&2 <<'END'\n{broken}\nEND\nexit {code}\n".encode()
    listed = "\n".join(f"  {one}" for one in devices) or "  (none)"
    return (
        "#!/bin/sh\n"
        'case "$1" in\n'
        f"--version) echo 'version: {version}' ;;\n"
        f"--help) cat <<'END'\n{HELP}\nEND\n;;\n"
        f"--list-devices) cat <<'END'\nAvailable devices:\n{listed}\nEND\n;;\n"
        f"*) cat >&2 <<'END'\n{loading or 'unknown'}\nEND\nexit {code} ;;\n"
        "esac\n"
    ).encode()


def tarball(path: Path, members: Mapping[str, bytes | str]) -> str:
    """Write a tar.gz of files (bytes) and links (text: what they name); its sha256. What is called
    llama-server may be run."""
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(data, str):
                info.type, info.linkname = tarfile.SYMTYPE, data
                tar.addfile(info)
                continue
            info.size, info.mode = len(data), 0o755 if "llama-" in name or name.endswith("cmake") else 0o644
            tar.addfile(info, io.BytesIO(data))
    return sha256(path)


def zipped(path: Path, members: Mapping[str, bytes]) -> str:
    """The same as a zip file, without links."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return sha256(path)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Net:
    """A network of files by address and pages by address; remembers what it was asked."""

    def __init__(self, files: Mapping[str, Path] | None = None, pages: Mapping[str, bytes] | None = None):
        self.files = dict(files or {})
        self.pages = dict(pages or {})
        self.asked: list[str] = []

    def index(self) -> str:
        return "https://index.example/simple"

    def page(self, url: str, accept: str) -> bytes:
        self.asked.append(url)
        if url not in self.pages:
            raise NotFound("there is none", hint="look elsewhere")
        return self.pages[url]

    def file(self, wanted: Wanted, folder: Path) -> Path:
        self.asked.append(wanted.url)
        source = self.files[wanted.url]
        target = folder / wanted.file
        target.write_bytes(source.read_bytes())
        if sha256(target) != wanted.sha256:
            raise DigestMismatch("another digest", hint="try again")
        return target


def executable(path: Path, text: bytes) -> Path:
    """Write a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    os.chmod(path, 0o755)
    return path
