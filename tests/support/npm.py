"""Packages of the npm registry for tests: fetched once, held to their hash, kept between runs."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from filelock import FileLock

from .models import cache

PINNED = {
    "ollama@0.6.4": "KzM6b5Sq0TgipeMTdImuELr/V4eNqrTf37PRzUTHCPPieFmboYw6qPn+pX7+lg0nSP1jsKwy4AFkiQFXhqHeZA==",
    "whatwg-fetch@3.6.20": (
        "EqhiFU6daOA8kpjOWTL0olhVOF3i7OrFzSYiGsEMB8GcXS+RrzauAERX65xMeNWVqxA6HXH2m69Z9LaKKdisfg=="
    ),
}
"""Package and version, and the SHA-512 of its tarball as package locks write it."""


def node() -> str:
    """The path of Node.js. Where it is missing the test is skipped; on CI, which has it, it fails."""
    found = shutil.which("node")
    if found and shutil.which("npm"):
        return found
    why = "Node.js 18 or newer with npm is missing: the JavaScript clients cannot be tried"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@functools.cache
def packages(*wanted: str) -> Path:
    """A folder whose ``node_modules`` holds these packages, each ``name@version`` of ``PINNED``."""
    node()
    folder = cache() / "npm"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock", timeout=300):
        for package in wanted:
            _unpacked(folder, package)
    return folder


def _unpacked(folder: Path, package: str) -> None:
    name, _, version = package.rpartition("@")
    tarball = folder / f"{name}-{version}.tgz"
    target, mark = folder / "node_modules" / name, folder / f"{name}-{version}.unpacked"
    if mark.exists() and target.is_dir():
        return
    if not tarball.exists():
        command = ["npm", "pack", "--silent", "--pack-destination", str(folder), package]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    found = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    if found != PINNED[package]:
        tarball.unlink()
        raise AssertionError(f"{package} is not what was pinned: sha512-{found}")
    shutil.rmtree(target, ignore_errors=True)
    fresh = folder / f"{name}-{version}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    with tarfile.open(tarball) as archive:
        archive.extractall(fresh, filter="data")
    target.parent.mkdir(exist_ok=True)
    (fresh / "package").rename(target)
    fresh.rmdir()
    mark.touch()
