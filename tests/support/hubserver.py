"""A Hugging Face Hub on loopback: repositories, listings, files behind redirects, private and gated ones.

``with HubServer() as hub: hub.publish("org/repo", {"m-Q4_0.gguf": data})``; point HF_ENDPOINT at
``hub.endpoint``. It answers ``/api/models/…`` (info, tree, refs) and ``/…/resolve/…`` as the Hub does.
``HubServer(cdn=True)`` keeps large files on a second server, ``hub.cdn``, as the Hub does; without,
they come from the first, as mirrors do. Misbehaviour: ``hub.fault(Fault(...))``, ``hub.cdn.faults``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from .fileserver import Fault, FileServer, Hit

LFS = (".gguf", ".safetensors", ".bin", ".pt")
NOBODY = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Invalid username or password."}
GATED = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to this model is restricted."}


class HubServer:
    """``token``: who sends it may read what is private or gated."""

    def __init__(self, *, cdn: bool = False, token: str = "hf_" + "t" * 34) -> None:
        self.hub = FileServer()
        self.cdn = FileServer() if cdn else self.hub
        self.token = token
        self._repos: set[str] = set()
        self.hub.faults.append(Fault(when=self._is_unknown_repository, status=401, headers=NOBODY))
        missing = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
        self.hub.faults.append(Fault(when=self._is_missing, status=404, headers=missing))

    @property
    def endpoint(self) -> str:
        return self.hub.url("").rstrip("/")

    @property
    def hits(self) -> list[Hit]:
        """All requests so far, those of the content server last."""
        return self.hub.hits + (self.cdn.hits if self.cdn is not self.hub else [])

    def __enter__(self) -> HubServer:
        self.hub.__enter__()
        if self.cdn is not self.hub:
            self.cdn.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.hub.__exit__(*error)
        if self.cdn is not self.hub:
            self.cdn.__exit__(*error)

    def fault(self, fault: Fault) -> None:
        """Misbehave so before anything else is considered."""
        self.hub.faults.insert(0, fault)

    def fetched(self) -> int:
        """Bytes of files (not of listings) that went out."""
        return sum(h.sent for h in self.hits if h.method == "GET" and not h.path.startswith("/api/"))

    def publish(
        self,
        repo: str,
        files: Mapping[str, bytes | Path],
        *,
        revision: str = "main",
        card: Mapping[str, object] | None = None,
        access: str = "",
    ) -> str:
        """A commit of a repository, on a branch. ``access``: "", private or gated. Returns the commit."""
        data = {f: v if isinstance(v, bytes) else v.read_bytes() for f, v in sorted(files.items())}
        identity = [repo, *(f"{f}:{_sha256(v)}" for f, v in data.items())]
        commit = hashlib.sha1("\n".join(identity).encode()).hexdigest()
        self._repos.add(repo)
        info = {
            "id": repo,
            "modelId": repo,
            "sha": commit,
            "private": access == "private",
            "gated": "manual" if access == "gated" else False,
            "tags": [],
            "siblings": [_sibling(file, value) for file, value in data.items()],
            **({"cardData": dict(card)} if card else {}),
        }
        tree = [_entry(file, value) for file, value in data.items()]
        listings = {f"/api/models/{repo}/refs": {"branches": [{"name": revision, "targetCommit": commit}]}}
        for at in {revision, commit}:
            listings[f"/api/models/{repo}/revision/{quote(at, safe='')}"] = info
            listings[f"/api/models/{repo}/tree/{quote(at, safe='')}"] = tree
        if revision == "main":
            listings[f"/api/models/{repo}"] = info
        for path, answer in listings.items():
            self.hub.files[path] = json.dumps(answer).encode()
            if access == "private":
                self.fault(Fault(path=path, when=self._has_no_token, status=401, headers=NOBODY))
        for file, value in data.items():
            for at in (revision, commit):
                self._resolve(f"/{repo}/resolve/{quote(at, safe='')}/{quote(file)}", value, commit, access)
        return commit

    def _resolve(self, path: str, data: bytes, commit: str, access: str) -> None:
        lfs = Path(path).suffix in LFS
        headers = {"X-Repo-Commit": commit}
        self.hub.faults = [fault for fault in self.hub.faults if fault.path != path]
        if lfs:
            headers |= {"X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{_sha256(data)}"'}
        if lfs and self.cdn is not self.hub:
            content = f"/cdn/{_sha256(data)}"
            self.cdn.files[content] = data
            self.fault(Fault(path=path, redirect=self.cdn.url(content) + "?signature=s", headers=headers))
        else:
            self.hub.files[path] = data
            self.fault(Fault(path=path, etag=f'"{_sha256(data) if lfs else _oid(data)}"', headers=headers))
        if access == "gated":
            self.fault(Fault(path=path, when=self._has_no_token, status=403, headers=GATED))
        elif access == "private":
            self.fault(Fault(path=path, when=self._has_no_token, status=401, headers=NOBODY))

    def _has_no_token(self, hit: Hit) -> bool:
        return hit.headers.get("authorization") != f"Bearer {self.token}"

    def _is_unknown_repository(self, hit: Hit) -> bool:
        path = hit.path.partition("?")[0].removeprefix("/api/models").strip("/")
        return not any(path == repo or path.startswith(f"{repo}/") for repo in self._repos)

    def _is_missing(self, hit: Hit) -> bool:
        return hit.path.partition("?")[0] not in self.hub.files


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _sibling(file: str, data: bytes) -> dict[str, object]:
    found: dict[str, object] = {"rfilename": file, "size": len(data), "blobId": _oid(data)}
    if file.endswith(LFS):
        found["lfs"] = {"size": len(data), "sha256": _sha256(data), "pointerSize": 134}
    return found


def _entry(file: str, data: bytes) -> dict[str, object]:
    found: dict[str, object] = {"type": "file", "path": file, "size": len(data), "oid": _oid(data)}
    if file.endswith(LFS):
        found["lfs"] = {"size": len(data), "oid": _sha256(data), "pointerSize": 134}
    return found
