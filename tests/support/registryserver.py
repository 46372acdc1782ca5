"""A registry on loopback that speaks the real protocol, and a second origin that stands for its CDN.

    with RegistryServer() as registry:
        registry.publish("library/tiny", "latest", ollama_layers(gguf, template="…"))
        pull(f"{registry.host}/library/tiny:latest")

Manifests, indexes, blobs with ranges and redirects, the token service, uploads by POST, PATCH and PUT
with ranges and digest checks. What it does wrong is switched on in ``faults``. All requests are kept in
``requests``. Protocol: the OCI distribution specification; Docker's token authentication.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .loopback import Loopback

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OLLAMA = "application/vnd.ollama.image."
DOCKER_AI = "application/vnd.docker.ai."
CNCF = "application/vnd.cncf.model."
FILEPATH = "org.cncf.model.filepath"
TITLE = "org.opencontainers.image.title"

BAD_DIGESTS: tuple[Any, ...] = (
    "sha256:../../x",
    "sha256:../../../../../../../../tmp/inhouse-pwned",
    "../../x",
    "/etc/passwd",
    "sha256-" + "a" * 64,
    "sha256-../" + "a" * 61,
    "sha256:" + "a" * 63,
    "sha256:" + "a" * 65,
    "sha256:" + "A" * 64,
    "sha256:" + "g" * 64,
    "SHA256:" + "a" * 64,
    "sha512:" + "a" * 128,
    "sha256:" + "a" * 63 + "\0",
    "sha256:" + "a" * 64 + "\n",
    "sha256:" + "a" * 32 + "/" + "a" * 31,
    "sha256:" + "a" * 32 + "\\" + "a" * 31,
    "sha256:" + "\u0661" * 64,
    "a" * 64,
    "sha256:",
    "",
    None,
    7,
    ["sha256:" + "a" * 64],
    {},
)
"""Digests of CVE-2024-37032 and its relatives: none may ever be taken."""


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Layer:
    """A layer to publish. ``changed`` overrides fields of its descriptor: they may lie."""

    media_type: str
    data: bytes
    annotations: Mapping[str, str] = field(default_factory=dict)
    changed: Mapping[str, Any] = field(default_factory=dict)

    def descriptor(self) -> dict[str, Any]:
        out: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": sha256(self.data),
            "size": len(self.data),
        }
        if self.annotations:
            out["annotations"] = dict(self.annotations)
        return out | dict(self.changed)


def ollama_layers(*models: bytes, **texts: Any) -> list[Layer]:
    """Layers as Ollama has them: GGUF files, and ``template="…"``, ``params={…}``, ``license="…"`` …"""
    out = [Layer(OLLAMA + "model", data) for data in models]
    for kind, value in texts.items():
        for one in value if isinstance(value, tuple) else (value,):
            data = (
                one if isinstance(one, bytes) else (one if isinstance(one, str) else json.dumps(one)).encode()
            )
            out.append(Layer(OLLAMA + kind, data))
    return out


def modelpack_layers(files: Mapping[str, bytes]) -> list[Layer]:
    """Raw weight layers as ModelPack has them, by file path."""
    return [Layer(CNCF + "weight.v1.raw", data, {FILEPATH: path}) for path, data in files.items()]


@dataclass
class Faults:
    """What goes wrong. Off unless set."""

    status: dict[str, list[tuple[int, dict[str, str]]]] = field(default_factory=dict)
    """Answers given first, by kind: manifest, blob, cdn, token, upload, progress, patch, put."""
    always: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)
    """Answers always given, by kind."""
    realm: str = ""
    """The realm of a challenge, instead of the registry's own."""
    lie: bool = False
    """Every blob has other bytes than its digest says."""
    truncate: int = -1
    """A blob ends after so many bytes, with the true length announced."""
    short: int = 0
    """A blob is so many bytes shorter, the length agreeing."""
    extra: bytes = b""
    """Comes after every blob."""
    no_ranges: bool = False
    digest_header: str = ""
    """Docker-Content-Digest of every manifest."""
    bomb: bytes = b""
    """Sent as every manifest, said to be gzip."""
    stall: threading.Event | None = None
    """Blobs stop in the middle until it is set."""
    absolute_location: str = ""
    """Where every upload is said to go on, e.g. another origin."""
    break_patch: int = -1
    """The next PATCH is cut after so many bytes, which are kept."""
    no_patch: bool = False
    no_mount: bool = False


@dataclass(frozen=True)
class Seen:
    """One request. ``origin`` is registry or cdn; header names are lower case."""

    origin: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


class RegistryServer:
    """The servers; use as a context manager. ``private`` demands a token for everything,
    ``anonymous`` says whether one is given without a login; ``users`` are its logins."""

    def __init__(self, *, private: bool = False, anonymous: bool = True, basic: bool = False) -> None:
        self.private = private
        self.anonymous = anonymous
        self.basic = basic
        self.redirect = False
        self.token_life = 300.0
        self.users: dict[str, str] = {}
        self.faults = Faults()
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.repositories: dict[str, set[str]] = {}
        self.requests: list[Seen] = []
        self.tokens: dict[str, tuple[str, float]] = {}
        self.lock = threading.Lock()
        self._servers = [_Server(self, "registry"), _Server(self, "cdn")]

    def __enter__(self) -> RegistryServer:
        for server in self._servers:
            server.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self.faults.stall:
            self.faults.stall.set()
        with contextlib.ExitStack() as stack:
            for server in self._servers:
                stack.push(server)

    @property
    def host(self) -> str:
        return self._servers[0].authority

    @property
    def cdn(self) -> str:
        return self._servers[1].authority

    def add_blob(self, repository: str, data: bytes) -> str:
        digest = sha256(data)
        self.blobs[digest] = data
        self.repositories.setdefault(repository, set()).add(digest)
        return digest

    def publish(
        self,
        repository: str,
        tag: str,
        layers: Sequence[Layer],
        *,
        config: Any = None,
        config_type: str = "application/vnd.docker.container.image.v1+json",
        media_type: str = DOCKER_MANIFEST,
        **changed: Any,
    ) -> str:
        """Put a model up; ``changed`` overrides fields of its manifest. Returns the manifest's digest."""
        for layer in layers:
            self.add_blob(repository, layer.data)
        manifest: dict[str, Any] = {"schemaVersion": 2, "mediaType": media_type}
        if config is not None:
            layer = Layer(config_type, config if isinstance(config, bytes) else json.dumps(config).encode())
            self.add_blob(repository, layer.data)
            manifest["config"] = layer.descriptor()
        manifest["layers"] = [layer.descriptor() for layer in layers]
        return self.publish_raw(repository, tag, json.dumps(manifest | changed).encode(), media_type)

    def publish_raw(self, repository: str, tag: str, body: bytes, media_type: str = DOCKER_MANIFEST) -> str:
        """Put any bytes up as a manifest, under its tag and its digest."""
        digest = sha256(body)
        for reference in (tag, digest):
            self.manifests[(repository, reference)] = (media_type, body)
        return digest

    def publish_index(self, repository: str, tag: str, manifests: Sequence[dict[str, Any]]) -> str:
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(manifests)}
        return self.publish_raw(repository, tag, json.dumps(index).encode(), OCI_INDEX)

    def asked(self, method: str, part: str) -> list[Seen]:
        """The requests with this method whose path holds ``part``."""
        with self.lock:
            return [seen for seen in self.requests if seen.method == method and part in seen.path]

    def secrets_at(self, origin: str) -> list[str]:
        """The Authorization headers that an origin got."""
        with self.lock:
            return [
                seen.headers["authorization"]
                for seen in self.requests
                if seen.origin == origin and "authorization" in seen.headers
            ]


class _Server(Loopback):
    def __init__(self, registry: RegistryServer, origin: str) -> None:
        super().__init__(_Handler)
        self.registry = registry
        self.origin = origin


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    # The way of every request

    def _serve(self) -> None:
        registry = self.registry
        url = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(url.query).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        with registry.lock:
            registry.requests.append(Seen(self.server.origin, self.command, url.path, self.query, headers))
        if self.server.origin == "cdn":
            return self._cdn(url.path)
        if url.path == "/token":
            return self._token()
        if url.path == "/v2/":
            return self._send(200, b"{}") if self._allowed("", "pull") else None
        match = re.fullmatch(r"/v2/(.+)/(manifests|blobs/uploads|blobs)/([^/]*)", url.path)
        if not match:
            return self._error(404, "NAME_UNKNOWN")
        repository, kind, reference = match.groups()
        action = "pull" if self.command in ("GET", "HEAD") and kind != "blobs/uploads" else "push"
        if not self._allowed(repository, action):
            return None
        if kind == "manifests":
            return self._manifest(repository, reference)
        if kind == "blobs":
            return self._blob(repository, reference)
        return self._upload(repository, reference)

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = _serve

    @property
    def registry(self) -> RegistryServer:
        return self.server.registry

    @property
    def faults(self) -> Faults:
        return self.registry.faults

    def _send(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        fields = {"Content-Length": str(len(body)), **(headers or {})}
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(OSError):
                self.wfile.write(body)

    def _error(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        self._discard()
        self._send(status, json.dumps({"errors": [{"code": code, "message": code}]}).encode(), headers)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _discard(self) -> None:
        if self.command in ("POST", "PATCH", "PUT"):
            self._body()

    def _faulty(self, kind: str) -> bool:
        """Give the answer that a fault asks for."""
        queue = self.faults.status.get(kind)
        with self.registry.lock:
            answer = queue.pop(0) if queue else self.faults.always.get(kind)
        if answer:
            self._error(answer[0], "FAULT", answer[1])
        return bool(answer)

    # Access

    def _allowed(self, repository: str, action: str) -> bool:
        registry = self.registry
        if not registry.private:
            return True
        given = self.headers.get("Authorization", "")
        if registry.basic:
            if self._user(given):
                return True
            challenge = 'Basic realm="registry"'
        else:
            scope, until = registry.tokens.get(given.removeprefix("Bearer "), ("", 0.0))
            if time.monotonic() < until and repository in scope and action in scope:
                return True
            realm = self.faults.realm or f"http://{registry.host}/token"
            wanted = "pull" if action == "pull" else "pull,push"
            challenge = f'Bearer realm="{realm}",service="test",scope="repository:{repository}:{wanted}"'
        self._error(401, "UNAUTHORIZED", {"WWW-Authenticate": challenge})
        return False

    def _user(self, header: str) -> bool:
        import base64

        pairs = {
            "Basic " + base64.b64encode(f"{u}:{p}".encode()).decode() for u, p in self.registry.users.items()
        }
        return header in pairs

    def _token(self) -> None:
        if self._faulty("token"):
            return None
        known = self._user(self.headers.get("Authorization", ""))
        scope = self.query.get("scope", "")
        if not known and not (self.registry.anonymous and scope.endswith(":pull")):
            return self._error(401, "DENIED")
        token = secrets.token_hex(16)
        life = self.registry.token_life
        self.registry.tokens[token] = (scope, time.monotonic() + life)
        self._send(200, json.dumps({"token": token, "expires_in": max(1, int(life))}).encode())
        return None

    # Reading

    def _manifest(self, repository: str, reference: str) -> None:
        if self._faulty("manifest"):
            return None
        if self.command == "PUT":
            return self._put_manifest(repository, reference)
        found = self.registry.manifests.get((repository, reference))
        if self.faults.bomb:
            return self._send(200, self.faults.bomb, {"Content-Encoding": "gzip"})
        if not found:
            return self._error(404, "MANIFEST_UNKNOWN")
        media_type, body = found
        digest = self.faults.digest_header or sha256(body)
        return self._send(200, body, {"Content-Type": media_type, "Docker-Content-Digest": digest})

    def _blob(self, repository: str, digest: str) -> None:
        if self._faulty("blob"):
            return None
        if digest not in self.registry.repositories.get(repository, ()):
            return self._error(404, "BLOB_UNKNOWN")
        if self.registry.redirect:
            where = f"http://{self.registry.cdn}/{digest}?X-Signature=abc"
            return self._send(307, b"", {"Location": where})
        return self._bytes(digest)

    def _cdn(self, path: str) -> None:
        """The CDN knows presigned GETs only, and takes no credentials."""
        if self._faulty("cdn"):
            return None
        if self.command != "GET" or self.query.get("X-Signature") != "abc":
            return self._error(403, "SignatureDoesNotMatch")
        if "Authorization" in self.headers:
            return self._error(400, "InvalidArgument")
        return self._bytes(path.strip("/"))

    def _bytes(self, digest: str) -> None:
        data, faults = self.registry.blobs[digest], self.faults
        if faults.lie:
            data = bytes([data[0] ^ 1]) + data[1:]
        data = data[: len(data) - faults.short] + faults.extra
        headers = {"ETag": f'"{digest}"', "Content-Type": "application/octet-stream"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        status = 200
        if not faults.no_ranges:
            headers["Accept-Ranges"] = "bytes"
            if wanted:
                first, last = int(wanted[1]), min(int(wanted[2] or len(data) - 1), len(data) - 1)
                if first > last:
                    return self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
                data, status = data[first : last + 1], 206
        if faults.stall and self.command == "GET" and len(data) > 1:
            return self._stalling(status, data, headers)
        if 0 <= faults.truncate < len(data) and self.command == "GET":
            self.close_connection = True
            headers["Content-Length"] = str(len(data))
            data = data[: faults.truncate]
        self._send(status, data, headers)
        return None

    def _stalling(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
        assert self.faults.stall
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.faults.stall.wait(60)
            self.wfile.write(data[len(data) // 2 :])

    # Writing

    def _upload(self, repository: str, key: str) -> None:
        registry = self.registry
        if self.command == "POST":
            if self._faulty("upload"):
                return None
            return self._start(repository)
        if key not in registry.uploads:
            return self._error(404, "BLOB_UPLOAD_UNKNOWN")
        if self.command == "GET":
            if self._faulty("progress"):
                return None
            return self._send(204, b"", self._progress(repository, key))
        if self._faulty(self.command.lower()):
            return None
        if self.command == "PATCH":
            return self._patch(repository, key)
        return self._finish(repository, key)

    def _start(self, repository: str) -> None:
        self._body()
        registry, mount = self.registry, self.query.get("mount", "")
        source = registry.repositories.get(self.query.get("from", ""), set())
        if mount and mount in source and not self.faults.no_mount:
            registry.repositories.setdefault(repository, set()).add(mount)
            return self._send(201, b"", {"Location": f"/v2/{repository}/blobs/{mount}"})
        key = secrets.token_hex(8)
        registry.uploads[key] = bytearray()
        return self._send(202, b"", self._progress(repository, key))

    def _progress(self, repository: str, key: str) -> dict[str, str]:
        done = len(self.registry.uploads[key])
        where = self.faults.absolute_location or f"/v2/{repository}/blobs/uploads/{key}?_state={done}"
        return {"Location": where, "Range": f"0-{max(0, done - 1)}"}

    def _patch(self, repository: str, key: str) -> None:
        if self.faults.no_patch:
            return self._error(405, "UNSUPPORTED")
        upload = self.registry.uploads[key]
        span = re.fullmatch(r"(\d+)-(\d+)", self.headers.get("Content-Range", ""))
        if span and int(span[1]) != len(upload):
            self._discard()
            return self._send(416, b"", self._progress(repository, key))
        if self.faults.break_patch >= 0:
            upload += self.rfile.read(self.faults.break_patch)
            self.faults.break_patch = -1
            self.close_connection = True
            return self.connection.close()
        upload += self._body()
        return self._send(202, b"", self._progress(repository, key))

    def _finish(self, repository: str, key: str) -> None:
        upload = self.registry.uploads[key]
        upload += self._body()
        if sha256(bytes(upload)) != self.query.get("digest"):
            return self._error(400, "DIGEST_INVALID")
        digest = self.registry.add_blob(repository, bytes(upload))
        del self.registry.uploads[key]
        where = f"/v2/{repository}/blobs/{digest}"
        return self._send(201, b"", {"Location": where, "Docker-Content-Digest": digest})

    def _put_manifest(self, repository: str, tag: str) -> None:
        body = self._body()
        manifest = json.loads(body)
        held = self.registry.repositories.get(repository, set())
        named = [*manifest["layers"], manifest["config"]]
        if any(item["digest"] not in held for item in named):
            return self._error(400, "MANIFEST_BLOB_UNKNOWN")
        digest = self.registry.publish_raw(repository, tag, body, self.headers.get("Content-Type", ""))
        return self._send(201, b"", {"Docker-Content-Digest": self.faults.digest_header or digest})


def bomb(size: int) -> bytes:
    """gzip of so many zeros, in one member."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    block = bytes(2**20)
    return b"".join(packer.compress(block) for _ in range(size // 2**20)) + packer.flush()
