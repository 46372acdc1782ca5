"""One frozen tree of settings: defaults < file < environment < flags; read once.

Every setting is declared in ``sections``; ``inhouse config``, the reference page and the tests read the
same declarations.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import BadRequest
from .programs import Program, read_programs
from .sections import Engine, Fetch, Fleet, Journal, Keep, Log, Server, Store
from .values import duration, size


@dataclass(frozen=True, slots=True)
class Config:
    """The tree. ``origins`` says for each dotted name where its value came from; ``programs`` are the
    engines that the file alone describes."""

    home: Path
    server: Server = field(default_factory=Server)
    fleet: Fleet = field(default_factory=Fleet)
    engine: Engine = field(default_factory=Engine)
    store: Store = field(default_factory=Store)
    keep: Keep = field(default_factory=Keep)
    fetch: Fetch = field(default_factory=Fetch)
    journal: Journal = field(default_factory=Journal)
    log: Log = field(default_factory=Log)
    programs: Mapping[str, Program] = field(default_factory=dict)
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


PREFIX = "INHOUSE_"
_NO_SETTINGS = ("INHOUSE_HOME", "INHOUSE_COMPLETE", "INHOUSE_KERNELS_", "INHOUSE_TEST_", "INHOUSE_VENV")
"""Variables, or beginnings of some, that mean something without being settings."""
PROGRAMS = "engines"
_SECTIONS: dict[str, type[Any]] = {
    "server": Server,
    "fleet": Fleet,
    "engine": Engine,
    "store": Store,
    "keep": Keep,
    "fetch": Fetch,
    "journal": Journal,
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
    except OSError as error:
        raise BadRequest(
            f"{path.name} in the home folder cannot be read: {error.strerror or type(error).__name__}",
            hint="Set INHOUSE_HOME to a folder of yours, or mend this one.",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"{path.name}: {error}", hint="Mend or remove the config file.") from None
    flat: dict[str, Any] = {}
    for section, values in tree.items():
        if section == PROGRAMS:
            flat[PROGRAMS] = values
            continue
        if not isinstance(values, dict):
            raise BadRequest(f"{path.name}: '{section}' must stand in a section", hint="See: inhouse config")
        flat |= {f"{section}.{key}": value for key, value in values.items()}
    return flat


def strangers(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that look like settings and are none, each with the setting that may be meant, "" for none.

    They are no errors, as other programs may use the prefix; but who set one expects something of it.
    """
    known = {s.env for s in settings()}
    names = sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
    return {
        name: next(iter(difflib.get_close_matches(name, known, 1, 0.75)), "")
        for name in names
        if not name.startswith(_NO_SETTINGS)
    }


def load(environ: Mapping[str, str], flags: Mapping[str, Any] | None = None) -> Config:
    """Read the settings once. ``flags`` are dotted names with values. Raises BadRequest."""
    home = Path(environ.get("INHOUSE_HOME") or Path.home() / ".inhouse").expanduser().absolute()
    in_file = _read_file(home / "config.toml")
    programs = read_programs(in_file.pop(PROGRAMS, {}))
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
    return Config(home=home, origins=origins, programs=programs, **tree)


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


__all__ = [
    "Config",
    "Engine",
    "Fetch",
    "Fleet",
    "Journal",
    "Keep",
    "Log",
    "Program",
    "Server",
    "Setting",
    "Store",
    "duration",
    "listen",
    "load",
    "settings",
    "size",
    "strangers",
    "value",
]
