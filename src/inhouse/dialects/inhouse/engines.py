"""Bodies of the routes that manage builds of engines."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.json import parse
from ..fields import Fields, check_text

MAX_FILES = 2
MAX_BUILDS = 16
MAX_ROUNDS = 100
MAX_JOBS = 1024


@dataclass(frozen=True, slots=True)
class InstallOrder:
    """``version`` "": the one of the list. ``sha256``: digests of the files, in order; ``files``: paths of
    archives that the user brings. ``jobs`` compilers at once, 0: by the cores."""

    name: str
    version: str = ""
    sha256: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    anyway: bool = False
    jobs: int = 0
    with_tools: bool = False


@dataclass(frozen=True, slots=True)
class BenchOrder:
    """``model`` "": a small one that is here; ``builds`` (): all that can be used."""

    model: str = ""
    builds: tuple[str, ...] = ()
    rounds: int = 0


def _fields(body: bytes) -> Fields:
    return Fields(parse(body) if body.strip() else {})


def _texts(fields: Fields, name: str, most: int) -> tuple[str, ...]:
    return tuple(check_text(f"{name}[{i}]", item) for i, item in enumerate(fields.items(name, most) or []))


def decode_engine_install(body: bytes) -> InstallOrder:
    """``{"name", "version", "sha256": [...], "files": [...], "anyway", "jobs", "with_tools"}``.

    Raises BadRequest.
    """
    fields = _fields(body)
    return InstallOrder(
        name=fields.required_text("name"),
        version=fields.text("version") or "",
        sha256=_texts(fields, "sha256", MAX_FILES),
        files=_texts(fields, "files", MAX_FILES),
        anyway=fields.flag("anyway", False),
        jobs=fields.whole("jobs", 0, MAX_JOBS) or 0,
        with_tools=fields.flag("with_tools", False),
    )


def decode_engine_name(body: bytes) -> tuple[str, bool]:
    """``{"name", "force"}``: the build and whether it goes although it is in use. Raises BadRequest."""
    fields = _fields(body)
    return fields.required_text("name"), fields.flag("force", False)


def decode_engine_bench(body: bytes) -> BenchOrder:
    """``{"model", "builds": [...], "rounds"}``. Raises BadRequest."""
    fields = _fields(body)
    return BenchOrder(
        fields.text("model") or "",
        _texts(fields, "builds", MAX_BUILDS),
        fields.whole("rounds", 1, MAX_ROUNDS) or 0,
    )


__all__ = [
    "BenchOrder",
    "InstallOrder",
    "decode_engine_bench",
    "decode_engine_install",
    "decode_engine_name",
]
