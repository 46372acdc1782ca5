"""Every setting, declared once: its default, its environment variable, its one-line description."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .values import duration, flag, names, one_of, size, whole


def setting(default: Any, env: str, doc: str, parse: Callable[[Any], Any], *, secret: bool = False) -> Any:
    return field(default=default, metadata={"env": env, "doc": doc, "parse": parse, "secret": secret})


@dataclass(frozen=True, slots=True)
class Server:
    host: str = setting(
        "127.0.0.1:11435", "INHOUSE_HOST", "Address to listen on, and where the CLI looks.", str
    )
    api_key: str = setting(
        "",
        "INHOUSE_API_KEY",
        "Key that every request must carry, or several of them, comma-separated; empty: none.",
        str,
        secret=True,
    )
    api_keys_file: str = setting(
        "", "INHOUSE_API_KEYS_FILE", "File of further keys, one name=key a line; # begins a comment.", str
    )
    allow_public: bool = setting(
        False, "INHOUSE_ALLOW_PUBLIC", "Allow listening beyond loopback without a key.", flag
    )
    origins: tuple[str, ...] = setting(
        (),
        "INHOUSE_ORIGINS",
        "Further browser origins that may call the API, comma-separated; * stands for any characters.",
        names,
    )
    allowed_hosts: tuple[str, ...] = setting(
        (), "INHOUSE_ALLOWED_HOSTS", "Further Host names accepted on loopback, comma-separated.", names
    )
    max_body: int = setting(64 * 2**20, "INHOUSE_MAX_BODY", "Largest request body.", size)
    keepalive_interval: float = setting(
        5.0, "INHOUSE_KEEPALIVE_INTERVAL", "Silence after which a stream gets a keep-alive.", duration
    )
    stall_timeout: float = setting(
        60.0, "INHOUSE_STALL_TIMEOUT", "A stream whose client takes nothing for so long is cut.", duration
    )
    drain_timeout: float = setting(
        30.0, "INHOUSE_DRAIN_TIMEOUT", "How long a stopping server lets running requests finish.", duration
    )
    idle_exit: float = setting(
        0.0, "INHOUSE_IDLE_EXIT", "Exit after so long without a request; 0: never.", duration
    )


@dataclass(frozen=True, slots=True)
class Fleet:
    keep_alive: float = setting(
        300.0, "INHOUSE_KEEP_ALIVE", "How long an idle model stays loaded; negative: for ever.", duration
    )
    max_loaded: int = setting(0, "INHOUSE_MAX_LOADED_MODELS", "Models loaded at once; 0: what fits.", whole)
    memory: int = setting(0, "INHOUSE_MEMORY", "Memory for models; 0: 80 % of what is available.", size)
    max_queue: int = setting(512, "INHOUSE_MAX_QUEUE", "Requests that may wait before 503.", whole)
    max_loads: int = setting(2, "INHOUSE_MAX_LOADS", "Models that load at once; 0: no limit.", whole)
    model_concurrency: int = setting(
        0, "INHOUSE_MODEL_CONCURRENCY", "Requests that one model runs at once; 0: as many as slots.", whole
    )
    key_concurrency: int = setting(
        0, "INHOUSE_KEY_CONCURRENCY", "Requests that one key may have running; 0: no limit.", whole
    )
    key_queue: int = setting(
        0, "INHOUSE_KEY_QUEUE", "Requests of one key that may wait before 429; 0: no limit.", whole
    )
    preload: tuple[str, ...] = setting(
        (), "INHOUSE_PRELOAD", "Models that are loaded when the server starts, comma-separated.", names
    )
    queue_timeout: float = setting(
        600.0,
        "INHOUSE_QUEUE_TIMEOUT",
        "How long a request may wait for its turn, loading aside; 0: do not wait.",
        duration,
    )
    load_timeout: float = setting(
        300.0, "INHOUSE_LOAD_TIMEOUT", "How long a model may take to load.", duration
    )
    hang_timeout: float = setting(
        15.0, "INHOUSE_HANG_TIMEOUT", "A worker that answers no health check for so long is killed.", duration
    )


@dataclass(frozen=True, slots=True)
class Engine:
    kind: str = setting(
        "auto",
        "INHOUSE_ENGINE",
        "auto, wheel (xllamacpp), native (llama-server) or fake.",
        one_of("auto", "wheel", "native", "fake"),
    )
    llama_server: str = setting(
        "", "INHOUSE_LLAMA_SERVER", "Path of a native llama-server; empty: search PATH.", str
    )
    mirror: str = setting(
        "",
        "INHOUSE_ENGINE_MIRROR",
        "URL that replaces scheme and host when builds of engines are fetched; digests still come from"
        " their publishers.",
        str,
    )
    context_length: int = setting(
        0, "INHOUSE_CONTEXT_LENGTH", "Tokens per slot; 0: from model and memory.", whole
    )
    slots: int = setting(0, "INHOUSE_SLOTS", "Requests a model runs at once; 0: from memory.", whole)
    threads: int = setting(
        0, "INHOUSE_THREADS", "CPU threads of a worker; 0: physical cores, of two kinds the fast ones.", whole
    )
    converter: str = setting(
        "", "INHOUSE_CONVERTER", "llama.cpp's convert_hf_to_gguf.py, or a command; empty: our own.", str
    )
    kernels: str = setting(
        "auto",
        "INHOUSE_KERNELS",
        "auto: Inhouse's own kernels compute where they are installed and pass their tests; off: never.",
        one_of("auto", "off"),
    )
    kv_cache_type: str = setting(
        "f16", "INHOUSE_KV_CACHE_TYPE", "KV cache type: f16, q8_0 or q4_0.", one_of("f16", "q8_0", "q4_0")
    )
    speculative: str = setting(
        "auto",
        "INHOUSE_SPECULATIVE",
        "How tokens are guessed ahead and then checked: auto, none, ngram (from the request's own text),"
        " draft, mtp or another way of llama.cpp.",
        one_of(
            "auto",
            "none",
            "ngram",
            "ngram-map-k",
            "ngram-map-k4v",
            "ngram-mod",
            "ngram-cache",
            "draft",
            "mtp",
        ),
    )
    prompt_cache: int = setting(
        256 * 2**20,
        "INHOUSE_PROMPT_CACHE",
        "Memory of each model for prompts that lost their slot to others; 0: none.",
        size,
    )
    prefix_cache: int = setting(
        2 * 2**30,
        "INHOUSE_PREFIX_CACHE",
        "Disk space for prompts that outlive their worker: read again after an unload or a restart; 0: none.",
        size,
    )
    prefix_tokens: int = setting(
        256, "INHOUSE_PREFIX_TOKENS", "Tokens from which the beginning of a prompt is worth saving.", whole
    )
    prompt_sharing: str = setting(
        "memory",
        "INHOUSE_PROMPT_SHARING",
        "Whether keys share what is computed of equal prompts: all, memory (saved ones only within a key)"
        " or none.",
        one_of("all", "memory", "none"),
    )
    fake: str = setting("", "INHOUSE_FAKE", "JSON options of the fake engine (tests and benchmarks).", str)


@dataclass(frozen=True, slots=True)
class Store:
    pull_hosts: tuple[str, ...] = setting(
        (),
        "INHOUSE_PULL_HOSTS",
        "Hosts on loopback or private networks that API clients may pull from and push to: host,"
        " host:port or *, comma-separated.",
        names,
    )
    pull_rate: int = setting(
        0,
        "INHOUSE_PULL_RATE",
        "Bytes per second that all pulls together may take, but for what pip itself fetches; 0: no limit.",
        size,
    )
    pull_streams: int = setting(4, "INHOUSE_PULL_STREAMS", "Parallel connections for one large file.", whole)
    pull_stall: float = setting(
        30.0, "INHOUSE_PULL_STALL", "A connection without a byte for so long is made anew.", duration
    )
    ollama_registry: str = setting(
        "", "INHOUSE_OLLAMA_REGISTRY", "URL of a mirror that is asked instead of Ollama's registry.", str
    )
    registry_token: str = setting(
        "", "INHOUSE_REGISTRY_TOKEN", "Tokens of registries: host=token, comma-separated.", str, secret=True
    )
    registry_realms: str = setting(
        "",
        "INHOUSE_REGISTRY_REALMS",
        "Registries whose token service is another machine: host=realm host, comma-separated.",
        str,
    )
    model_folders: tuple[str, ...] = setting(
        (), "INHOUSE_MODEL_FOLDERS", "Folders whose files API clients may name, comma-separated.", names
    )


@dataclass(frozen=True, slots=True)
class Keep:
    enabled: bool = setting(
        True,
        "INHOUSE_KEEP",
        "Keep answers, conversations and files for clients that ask for it (responses do by default).",
        flag,
    )
    days: int = setting(30, "INHOUSE_KEEP_DAYS", "Days until kept answers are deleted; 0: never.", whole)
    max: int = setting(
        2**30, "INHOUSE_KEEP_MAX", "Disk space for all that is kept; what was kept first goes first.", size
    )
    file_size: int = setting(512 * 2**20, "INHOUSE_KEEP_FILE_SIZE", "Largest uploaded file.", size)


@dataclass(frozen=True, slots=True)
class Fetch:
    hosts: tuple[str, ...] = setting(
        (),
        "INHOUSE_FETCH_HOSTS",
        "Hosts from which images and texts named by URL are fetched, comma-separated; * is any public one,"
        " none is the default. Private and loopback addresses only when named as host:port.",
        names,
    )
    size: int = setting(20 * 2**20, "INHOUSE_FETCH_SIZE", "Largest image or text that is fetched.", size)
    timeout: float = setting(10.0, "INHOUSE_FETCH_TIMEOUT", "How long fetching one may take.", duration)


@dataclass(frozen=True, slots=True)
class Journal:
    size: int = setting(
        32 * 2**20,
        "INHOUSE_JOURNAL_SIZE",
        "Disk space for what inhouse events and inhouse why know; 0: kept in memory only.",
        size,
    )
    days: int = setting(30, "INHOUSE_JOURNAL_DAYS", "Days until that is deleted; 0: never.", whole)


@dataclass(frozen=True, slots=True)
class Log:
    level: str = setting(
        "info",
        "INHOUSE_LOG_LEVEL",
        "debug, info, warning or error.",
        one_of("debug", "info", "warning", "error"),
    )
    format: str = setting("text", "INHOUSE_LOG_FORMAT", "text or json.", one_of("text", "json"))
