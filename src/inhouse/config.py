"""One frozen tree of settings: defaults < file < environment < flags; read once.

Every setting is declared here, once, with its environment variable and its one-line description;
``inhouse config``, the reference page and the tests read the same declarations.
"""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .core.errors import BadRequest

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d)")
_SIZES = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)


def duration(text: str | float) -> float:
    """Seconds of ``300``, ``"5m"``, ``"1h30m"``; negative means for ever (``inf``). Raises ValueError."""
    if isinstance(text, bool):
        raise ValueError("not a duration")
    if isinstance(text, int | float):
        seconds = float(text)
    else:
        sign, body = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
        if re.fullmatch(r"\d{1,15}(\.\d+)?", body, re.ASCII):
            seconds = sign * float(body)
        else:
            parts = _DURATION.findall(body)
            if not parts or "".join(n + u for n, u in parts) != body:
                raise ValueError(f"{text[:40]!r} is not a duration like 300, 5m or 1h30m")
            seconds = sign * sum(float(n) * _UNITS[u] for n, u in parts)
    if math.isnan(seconds):
        raise ValueError("not a duration")
    return math.inf if seconds < 0 else seconds


def size(text: str | int) -> int:
    """Bytes of ``1048576``, ``"64MiB"``, ``"8g"`` (powers of 1024). Raises ValueError."""
    match = _SIZE.fullmatch(str(text).strip())
    if not match:
        raise ValueError(f"{text!r} is not a size like 512MiB or 8g")
    return int(float(match[1]) * _SIZES[match[2].lower()])


def _flag(text: str | bool) -> bool:
    known = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    try:
        return text if isinstance(text, bool) else known[text.lower()]
    except (KeyError, AttributeError):
        raise ValueError(f"{text!r} is not true or false") from None


def _names(text: str | list[str]) -> tuple[str, ...]:
    parts = text if isinstance(text, list) else text.split(",")
    return tuple(p.strip() for p in parts if p.strip())


def _whole(text: str | int) -> int:
    if isinstance(text, bool | float):
        raise ValueError(f"{text!r} is not a whole number")
    value = int(text)
    if value < 0:
        raise ValueError("it must not be negative")
    return value


def _one_of(*choices: str) -> Callable[[Any], str]:
    def parse(text: Any) -> str:
        if text not in choices:
            raise ValueError(f"{text!r} is not one of {', '.join(choices)}")
        return str(text)

    return parse


def _setting(default: Any, env: str, doc: str, parse: Callable[[Any], Any], *, secret: bool = False) -> Any:
    return field(default=default, metadata={"env": env, "doc": doc, "parse": parse, "secret": secret})


@dataclass(frozen=True, slots=True)
class Server:
    host: str = _setting(
        "127.0.0.1:11435", "INHOUSE_HOST", "Address to listen on, and where the CLI looks.", str
    )
    api_key: str = _setting(
        "", "INHOUSE_API_KEY", "Key that every request must carry; empty: none.", str, secret=True
    )
    allow_public: bool = _setting(
        False, "INHOUSE_ALLOW_PUBLIC", "Allow listening beyond loopback without a key.", _flag
    )
    origins: tuple[str, ...] = _setting(
        (),
        "INHOUSE_ORIGINS",
        "Further browser origins that may call the API, comma-separated; * stands for any characters.",
        _names,
    )
    allowed_hosts: tuple[str, ...] = _setting(
        (), "INHOUSE_ALLOWED_HOSTS", "Further Host names accepted on loopback, comma-separated.", _names
    )
    max_body: int = _setting(64 * 2**20, "INHOUSE_MAX_BODY", "Largest request body.", size)
    keepalive_interval: float = _setting(
        5.0, "INHOUSE_KEEPALIVE_INTERVAL", "Silence after which a stream gets a keep-alive.", duration
    )
    stall_timeout: float = _setting(
        60.0, "INHOUSE_STALL_TIMEOUT", "A stream whose client takes nothing for so long is cut.", duration
    )
    drain_timeout: float = _setting(
        30.0, "INHOUSE_DRAIN_TIMEOUT", "How long a stopping server lets running requests finish.", duration
    )
    idle_exit: float = _setting(
        0.0, "INHOUSE_IDLE_EXIT", "Exit after so long without a request; 0: never.", duration
    )


@dataclass(frozen=True, slots=True)
class Fleet:
    keep_alive: float = _setting(
        300.0, "INHOUSE_KEEP_ALIVE", "How long an idle model stays loaded; negative: for ever.", duration
    )
    max_loaded: int = _setting(0, "INHOUSE_MAX_LOADED_MODELS", "Models loaded at once; 0: what fits.", _whole)
    memory: int = _setting(0, "INHOUSE_MEMORY", "Memory for models; 0: 80 % of what is available.", size)
    max_queue: int = _setting(512, "INHOUSE_MAX_QUEUE", "Requests that may wait before 503.", _whole)
    queue_timeout: float = _setting(
        600.0, "INHOUSE_QUEUE_TIMEOUT", "How long a request may wait for a slot.", duration
    )
    load_timeout: float = _setting(
        300.0, "INHOUSE_LOAD_TIMEOUT", "How long a model may take to load.", duration
    )
    hang_timeout: float = _setting(
        15.0, "INHOUSE_HANG_TIMEOUT", "A worker that answers no health check for so long is killed.", duration
    )


@dataclass(frozen=True, slots=True)
class Engine:
    kind: str = _setting(
        "auto",
        "INHOUSE_ENGINE",
        "auto, wheel (xllamacpp), native (llama-server) or fake.",
        _one_of("auto", "wheel", "native", "fake"),
    )
    llama_server: str = _setting(
        "", "INHOUSE_LLAMA_SERVER", "Path of a native llama-server; empty: search PATH.", str
    )
    context_length: int = _setting(
        0, "INHOUSE_CONTEXT_LENGTH", "Tokens per slot; 0: from model and memory.", _whole
    )
    slots: int = _setting(0, "INHOUSE_SLOTS", "Requests a model runs at once; 0: from memory.", _whole)
    threads: int = _setting(0, "INHOUSE_THREADS", "CPU threads of a worker; 0: physical cores.", _whole)
    converter: str = _setting(
        "", "INHOUSE_CONVERTER", "llama.cpp's convert_hf_to_gguf.py, or a command; empty: our own.", str
    )
    kv_cache_type: str = _setting(
        "f16", "INHOUSE_KV_CACHE_TYPE", "KV cache type: f16, q8_0 or q4_0.", _one_of("f16", "q8_0", "q4_0")
    )
    prompt_cache: int = _setting(
        256 * 2**20,
        "INHOUSE_PROMPT_CACHE",
        "Memory of each model for prompts that lost their slot to others; 0: none.",
        size,
    )
    fake: str = _setting("", "INHOUSE_FAKE", "JSON options of the fake engine (tests and benchmarks).", str)


@dataclass(frozen=True, slots=True)
class Store:
    pull_hosts: tuple[str, ...] = _setting(
        (),
        "INHOUSE_PULL_HOSTS",
        "Hosts on loopback or private networks that API clients may pull from and push to: host,"
        " host:port or *, comma-separated.",
        _names,
    )
    pull_rate: int = _setting(
        0,
        "INHOUSE_PULL_RATE",
        "Bytes per second that all pulls together may take, but for what pip itself fetches; 0: no limit.",
        size,
    )
    pull_streams: int = _setting(
        4, "INHOUSE_PULL_STREAMS", "Parallel connections for one large file.", _whole
    )
    pull_stall: float = _setting(
        30.0, "INHOUSE_PULL_STALL", "A connection without a byte for so long is made anew.", duration
    )
    ollama_registry: str = _setting(
        "", "INHOUSE_OLLAMA_REGISTRY", "URL of a mirror that is asked instead of Ollama's registry.", str
    )
    registry_token: str = _setting(
        "", "INHOUSE_REGISTRY_TOKEN", "Tokens of registries: host=token, comma-separated.", str, secret=True
    )
    registry_realms: str = _setting(
        "",
        "INHOUSE_REGISTRY_REALMS",
        "Registries whose token service is another machine: host=realm host, comma-separated.",
        str,
    )
    model_folders: tuple[str, ...] = _setting(
        (), "INHOUSE_MODEL_FOLDERS", "Folders whose files API clients may name, comma-separated.", _names
    )


@dataclass(frozen=True, slots=True)
class Keep:
    enabled: bool = _setting(
        True,
        "INHOUSE_KEEP",
        "Keep answers, conversations and files for clients that ask for it (responses do by default).",
        _flag,
    )
    days: int = _setting(30, "INHOUSE_KEEP_DAYS", "Days until kept answers are deleted; 0: never.", _whole)
    max: int = _setting(
        2**30, "INHOUSE_KEEP_MAX", "Disk space for all that is kept; what was kept first goes first.", size
    )
    file_size: int = _setting(512 * 2**20, "INHOUSE_KEEP_FILE_SIZE", "Largest uploaded file.", size)


@dataclass(frozen=True, slots=True)
class Fetch:
    hosts: tuple[str, ...] = _setting(
        (),
        "INHOUSE_FETCH_HOSTS",
        "Hosts from which images and texts named by URL are fetched, comma-separated; * is any public one,"
        " none is the default. Private and loopback addresses only when named as host:port.",
        _names,
    )
    size: int = _setting(20 * 2**20, "INHOUSE_FETCH_SIZE", "Largest image or text that is fetched.", size)
    timeout: float = _setting(10.0, "INHOUSE_FETCH_TIMEOUT", "How long fetching one may take.", duration)


@dataclass(frozen=True, slots=True)
class Log:
    level: str = _setting(
        "info",
        "INHOUSE_LOG_LEVEL",
        "debug, info, warning or error.",
        _one_of("debug", "info", "warning", "error"),
    )
    format: str = _setting("text", "INHOUSE_LOG_FORMAT", "text or json.", _one_of("text", "json"))


@dataclass(frozen=True, slots=True)
class Config:
    """The tree. ``origins`` says for each dotted name where its value came from."""

    home: Path
    server: Server = field(default_factory=Server)
    fleet: Fleet = field(default_factory=Fleet)
    engine: Engine = field(default_factory=Engine)
    store: Store = field(default_factory=Store)
    keep: Keep = field(default_factory=Keep)
    fetch: Fetch = field(default_factory=Fetch)
    log: Log = field(default_factory=Log)
    origins: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Setting:
    """A declaration, for the reference page and ``inhouse config``."""

    name: str
    env: str
    doc: str
    default: Any
    parse: Callable[[Any], Any]
    secret: bool


_SECTIONS: dict[str, type[Any]] = {
    "server": Server,
    "fleet": Fleet,
    "engine": Engine,
    "store": Store,
    "keep": Keep,
    "fetch": Fetch,
    "log": Log,
}


def settings() -> Iterator[Setting]:
    """Every setting but ``home``, in order."""
    for section, kind in _SECTIONS.items():
        for f in dataclasses.fields(kind):
            meta = f.metadata
            yield Setting(
                f"{section}.{f.name}", meta["env"], meta["doc"], f.default, meta["parse"], meta["secret"]
            )


def _read_file(path: Path) -> dict[str, Any]:
    try:
        tree = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise BadRequest(f"{path.name}: {error}", hint="Mend or remove the config file.") from None
    flat: dict[str, Any] = {}
    for section, values in tree.items():
        if not isinstance(values, dict):
            raise BadRequest(f"{path.name}: '{section}' must stand in a section", hint="See: inhouse config")
        flat |= {f"{section}.{key}": value for key, value in values.items()}
    return flat


def load(environ: Mapping[str, str], flags: Mapping[str, Any] | None = None) -> Config:
    """Read the settings once. ``flags`` are dotted names with values. Raises BadRequest."""
    home = Path(environ.get("INHOUSE_HOME") or Path.home() / ".inhouse").expanduser().absolute()
    in_file = _read_file(home / "config.toml")
    flags = {k: v for k, v in (flags or {}).items() if v is not None}
    known = {s.name for s in settings()}
    for name in [*in_file, *flags]:
        if name not in known:
            raise BadRequest(f"unknown setting '{name}'", hint="List them with: inhouse config")
    values: dict[str, dict[str, Any]] = {section: {} for section in _SECTIONS}
    origins = {"home": "environment INHOUSE_HOME" if environ.get("INHOUSE_HOME") else "default"}
    for s in settings():
        origin, raw = "default", None
        for where, source, key in (
            ("file config.toml", in_file, s.name),
            (f"environment {s.env}", environ, s.env),
            ("flag", flags, s.name),
        ):
            found = source.get(key)
            if found is not None and (where == "flag" or found != ""):
                origin, raw = where, found
        origins[s.name] = origin
        if raw is None:
            continue
        section, _, key = s.name.partition(".")
        try:
            values[section][key] = s.parse(raw)
        except (ValueError, TypeError) as error:
            raise BadRequest(f"{s.name} ({origin}): {error}", hint=s.doc) from None
    tree = {section: kind(**values[section]) for section, kind in _SECTIONS.items()}
    return Config(home=home, origins=origins, **tree)


def value(config: Config, name: str) -> Any:
    """The value of a dotted name."""
    section, _, key = name.partition(".")
    return getattr(getattr(config, section), key)


def listen(host: str) -> tuple[str, int]:
    """Split ``host[:port]``, ``[::1]:port`` or an http URL. Raises BadRequest."""
    text = re.sub(r"\Ahttps?://", "", host).rstrip("/")
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]/]*)(?::(\d{1,5}))?", text)
    if not match or int(match[2] or 0) > 65535:
        raise BadRequest(f"'{host}' is not an address like 127.0.0.1:11435", hint="Set INHOUSE_HOST.")
    return match[1].strip("[]") or "127.0.0.1", int(match[2] or 11435)


__all__ = ["Config", "Setting", "duration", "listen", "load", "settings", "size", "value"]
