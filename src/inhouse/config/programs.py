"""``[engines.NAME]``: servers of OpenAI's wire that run models by a command line of the operator's."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from ..core.errors import BadRequest
from ..core.features import FEATURES
from .values import duration, size, whole

OURS: Final = frozenset(
    {
        *("auto", "wheel", "native", "fake", "llama.cpp", "transformers", "vllm", "sglang", "own", "path"),
        *("cpu", "cuda-12", "cuda-13", "metal", "rocm", "sycl", "vulkan"),
        *("wheel-cuda-12", "wheel-cuda-13", "wheel-rocm-6", "wheel-rocm-7", "wheel-vulkan"),
    }
)
"""Names that engines of ours and their builds have."""

PLACEHOLDERS: Final = frozenset(
    {"model", "name", "socket", "host", "port", "key", "context", "slots", "threads"}
)
_NAME: Final = re.compile(r"[a-z][a-z0-9._-]{0,30}\Z", re.ASCII)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)
_HINT: Final = "See docs/guides/other-engines.md."


@dataclass(frozen=True, slots=True)
class Program:
    """A server that is started for each model. ``command`` and the values of ``env`` may hold placeholders
    like {model}.

    It runs the models of ``formats`` that no other engine runs, those whose names fit one of the patterns
    ``models``, and those that ask for it. ``ready`` is the path that answers 200 once it can be asked,
    ``serves`` what it calls the model. ``takes`` and ``lacks`` are features of OpenAI's wire that it has
    beyond the common ones, or not. ``context_length`` 0: the model's own; ``memory`` 0: by the model's size.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    formats: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    ready: str = "/health"
    serves: str = "{name}"
    takes: frozenset[str] = frozenset()
    lacks: frozenset[str] = frozenset()
    context_length: int = 0
    slots: int = 4
    memory: int = 0
    start_timeout: float = 300.0


def read_programs(section: Any) -> Mapping[str, Program]:
    """The table ``engines`` of the file. Raises BadRequest that names the key at fault."""
    if not isinstance(section, dict):
        raise _wrong("engines", "it must hold sections like [engines.NAME]")
    return MappingProxyType({name: _program(name, values) for name, values in section.items()})


def _program(name: str, values: Any) -> Program:
    at = f"engines.{name[:40]}"
    if not isinstance(values, dict):
        raise _wrong(at, "it must be a section")
    if name in OURS:
        raise _wrong(at, "an engine of Inhouse itself has this name")
    if not _NAME.match(name):
        raise _wrong(at, "a name is up to 31 lower-case letters, digits, dots and dashes")
    if "command" not in values:
        raise _wrong(f"{at}.command", "it is missing")
    found: dict[str, Any] = {}
    for key, value in values.items():
        parse = _PARSERS.get(key)
        if parse is None:
            raise BadRequest(f"unknown setting '{at}.{key[:40]}'", hint=f"Known: {', '.join(_PARSERS)}")
        try:
            found[key] = parse(value)
        except (ValueError, TypeError) as error:
            raise _wrong(f"{at}.{key}", str(error)) from None
    for key in ("takes", "lacks"):
        unknown = sorted(found.get(key, frozenset()) - FEATURES.keys())
        if unknown:
            raise _wrong(f"{at}.{key}", f"there is no feature '{unknown[0][:40]}'")
    program = Program(name, **found)
    _check_address(program, at)
    return program


def _check_address(program: Program, at: str) -> None:
    used = {one for text in (*program.command, *program.env.values()) for one in _fields(text)}
    if {"socket", "port"} <= used:
        raise _wrong(f"{at}.command", "it takes {socket} or {port}, not both")
    if not {"socket", "port"} & used:
        raise _wrong(f"{at}.command", "nothing tells it where to listen: use {socket}, or {host} and {port}")
    if not {"model", "name"} & used:
        raise _wrong(f"{at}.command", "nothing tells it which model to run: use {model}, its path, or {name}")


def _fields(text: str) -> list[str]:
    """The placeholders in a text. Raises ValueError for others, or for braces that are none."""
    names = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    unknown = [name for name in names if name not in PLACEHOLDERS]
    if unknown:
        raise ValueError(
            f"there is no placeholder {{{unknown[0][:40]}}}; braces themselves are written {{{{ }}}}"
        )
    return names


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise ValueError("it must be a list of texts")
    return tuple(value)


def _command(value: Any) -> tuple[str, ...]:
    words = _texts(value)
    if not words:
        raise ValueError("it is empty")
    for word in words:
        _fields(word)
    return words


def _env(value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise ValueError("it must map names to texts")
    for name, text in value.items():
        if not _VARIABLE.match(name):
            raise ValueError(f"'{name[:40]}' is no name of a variable")
        _fields(text)
    return MappingProxyType(dict(value))


def _path(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/") or not value.isprintable():
        raise ValueError("it must be a path like /health")
    return value


def _served(value: Any) -> str:
    if not isinstance(value, str) or not value or set(_fields(value)) - {"name", "model"}:
        raise ValueError("it must be a text; of placeholders it may hold {name} and {model}")
    return value


def _positive(value: Any) -> int:
    number = whole(value)
    if not 1 <= number <= 4096:
        raise ValueError("it must be from 1 to 4096")
    return number


_PARSERS: Final[dict[str, Callable[[Any], Any]]] = {
    "command": _command,
    "env": _env,
    "formats": _texts,
    "models": _texts,
    "ready": _path,
    "serves": _served,
    "takes": lambda value: frozenset(_texts(value)),
    "lacks": lambda value: frozenset(_texts(value)),
    "context_length": whole,
    "slots": _positive,
    "memory": size,
    "start_timeout": duration,
}


def _wrong(at: str, why: str) -> BadRequest:
    return BadRequest(f"config.toml: {at}: {why}", hint=_HINT)


__all__ = ["OURS", "PLACEHOLDERS", "Program", "read_programs"]
