"""Gets a build onto the shelf: fetched or brought, verified, unpacked or compiled, tried, added."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from ...core.disk import guarded
from ...core.errors import BadRequest, Cancelled, DigestMismatch, LoadFailed, NotFound, SourceFailed
from ...machine import Machine
from ..tool import Step
from . import catalogue, compile, probe, toolbox
from .catalogue import Build, File
from .origin import Net, Wanted, Wish, files_of, hex_of, version_of
from .shelf import FILES, Installed, Record, Shelf, digest, facts
from .unpack import Limits, unpack

LOG: Final = "engine-build.log"
BROUGHT: Final = "brought"
MOST_SOURCES: Final = 2**30
OWN: Final = "own"
"""The backend of a build that the user brought and that the list does not know."""

RESERVED: Final = frozenset({"auto", "fake", "llama.cpp", "own", "path"})
"""What a build cannot be called: the choice of builds has other meanings for these names."""

_OWN_NAME = re.compile(r"[a-z][a-z0-9._-]{0,30}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Report:
    """``say`` hears what is done now, with steps done and in all (0: unknown); ``stopped`` asks."""

    say: Callable[[str, int, int], None]
    stopped: Callable[[], bool]

    def check(self) -> None:
        """Raises Cancelled once nobody wants the work any more."""
        if self.stopped():
            raise Cancelled("The work was cancelled.")


@dataclass(frozen=True, slots=True)
class Choice:
    """What to install. ``files``: archives that the user brought; ``anyway``: although it does not fit;
    ``jobs`` compilers at once (0: by the cores); ``with_tools``: CMake from the index where it is missing."""

    name: str
    wish: Wish = field(default_factory=Wish)
    files: tuple[Path, ...] = ()
    anyway: bool = False
    jobs: int = 0
    with_tools: bool = False


class Installer:
    """Blocking. All methods raise InhouseError and leave nothing half done behind."""

    def __init__(
        self, home: Path, shelf: Shelf, net: Net, machine: Machine, environ: Mapping[str, str]
    ) -> None:
        self._home = home
        self._shelf = shelf
        self._net = net
        self._machine = machine
        self._environ = environ

    def install(self, choice: Choice, report: Report) -> Installed:
        """Install a build of the list, or one that the user brought. Raises NotFound, Unsupported,
        SourceFailed, DigestMismatch, NoSpace, LoadFailed (it does not work here), Cancelled."""
        if choice.files and choice.name not in {one.name for one in catalogue.builds()}:
            build, file = _own(choice), File()
        else:
            build, file = catalogue.installable(choice.name, self._machine, anyway=choice.anyway)
        tools = self._tools(choice, report) if build.source == "build" else None  # before anything is fetched
        wanted = self._wanted(build, file, choice)
        with self._shelf.aside() as folder:
            paths = [self._have(one, choice, i, folder, report) for i, one in enumerate(wanted)]
            site = _Site(folder, _record(build, choice, wanted[0]), report)
            if tools:
                record = self._compiled(site, paths[0], file.within, tools, choice.jobs)
            else:
                record = _unpacked(site, paths)
            record = self._tried(replace(site, record=record), anyway=choice.anyway)
            shutil.rmtree(folder / BROUGHT, ignore_errors=True)
            installed = self._shelf.add(folder, record)
        for one in wanted:
            shutil.rmtree(self._part(one), ignore_errors=True)
        return installed

    # -- files ------------------------------------------------------------------------------

    def _wanted(self, build: Build, file: File, choice: Choice) -> list[Wanted]:
        """What is needed, each with its digest. A file that was brought asks the network nothing."""
        if not choice.files:
            return files_of(build, file, catalogue.platform_of(self._machine), choice.wish, self._net)
        version_of(build, choice.wish)
        digests = [hex_of(text) for text in choice.wish.sha256]
        expected = 2 if file.beside else 1
        if len(choice.files) != expected:
            names = " and ".join(one for one in (file.asset, file.beside) if one) or "one archive"
            raise BadRequest(f"The build {build.name!r} takes {names}.", hint="Name each with --from.")
        out = []
        for i, path in enumerate(choice.files):
            sha256 = digests[i] if i < len(digests) else ""
            pinned = "user" if sha256 else ""
            if i == 0 and not sha256 and not choice.wish.version and file.sha256:
                sha256, pinned = file.sha256, "catalogue"
            out.append(Wanted("", path.name, sha256, 0, pinned))  # type: ignore[arg-type]
        return out

    def _part(self, wanted: Wanted) -> Path:
        return self._shelf.root / f".part-{wanted.sha256[:16]}"

    def _have(self, wanted: Wanted, choice: Choice, i: int, aside: Path, report: Report) -> Path:
        """The file on this disk, verified."""
        if choice.files:
            return _brought(choice.files[i], wanted, aside / BROUGHT / str(i), report)
        folder = self._part(wanted)
        with guarded("preparing a download"):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            return self._net.file(wanted, folder)
        except DigestMismatch:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    # -- what is in them ----------------------------------------------------------------------

    def _compiled(self, site: _Site, archive: Path, within: str, tools: compile.Tools, jobs: int) -> Record:
        source, work = site.folder / "source", site.folder / "work"
        site.report.say("unpacking the sources", 0, 0)
        unpack(archive, source, site.report.check, within=within, limits=Limits(MOST_SOURCES))
        logs = self._home / "logs"
        with guarded("preparing a build"):
            work.mkdir()
            logs.mkdir(parents=True, exist_ok=True)
        jobs = jobs or max(1, self._machine.physical_cores)
        order = compile.Order(source, work, site.files, site.record.version, jobs, logs / LOG)

        def say(step: Step) -> None:
            site.report.say("compiling", step.done, step.total)

        site.report.say("configuring", 0, 0)
        began = time.monotonic()
        made = compile.build(order, tools, self._environ, say, site.report.stopped)
        for folder in (source, work):
            shutil.rmtree(folder, ignore_errors=True)
        program = _program(site.files)
        made |= {
            "cpu": self._machine.cpu,
            "features": list(self._machine.features),
            "seconds": round(time.monotonic() - began, 1),
            "folder": within,
        }
        name = str(program.relative_to(site.files))
        cpu = compile.cpu_of(self._machine)
        return replace(site.record, program=name, cpu=cpu, made=made, **facts(program))

    def _tools(self, choice: Choice, report: Report) -> compile.Tools:
        if choice.with_tools and not shutil.which("cmake", path=self._environ.get("PATH", "")):
            toolbox.install(self._home, lambda line: report.say(line, 0, 0), report.stopped, self._environ)
        return compile.find(self._environ, toolbox.place(self._home))

    def _tried(self, site: _Site, *, anyway: bool) -> Record:
        """The record, once the build was seen to start here."""
        record = site.record
        site.report.say("trying it", 0, 0)
        gpu = record.backend not in ("cpu", OWN) and not anyway
        seen = look(Installed(record, site.folder), self._environ, gpu=gpu)
        if seen.why and not (anyway and seen.version):
            raise LoadFailed(
                f"The build {record.name!r} does not work on this machine: {seen.why}.",
                hint="Nothing of it was kept. See what fits: inhouse engine list",
            )
        return replace(record, made=record.made | {"says": seen.version, "devices": list(seen.devices)})


@dataclass(frozen=True, slots=True)
class _Site:
    """A build in the making: its ``folder`` aside, its ``record`` as far as known."""

    folder: Path
    record: Record
    report: Report

    @property
    def files(self) -> Path:
        return self.folder / FILES


def _record(build: Build, choice: Choice, fetched: Wanted) -> Record:
    """What is known before anything is unpacked."""
    return Record(
        name=build.name,
        version=choice.wish.version or build.version,
        runs=build.runs,
        backend=build.backend,
        source="bundle" if choice.files and build.source != "build" else build.source,
        program="",
        program_sha256="",
        program_size=0,
        program_mtime=0,
        sha256=fetched.sha256,
        pinned=fetched.pinned,
        fetched=fetched.url,
        licence=build.licence,
        loses=build.loses,
        at=time.time(),
    )


def _unpacked(site: _Site, paths: Sequence[Path]) -> Record:
    site.report.say(f"unpacking {site.record.name}", 0, 0)
    files = site.files
    unpack(paths[0], files, site.report.check)
    if site.record.runs == "wheel":
        library = _largest(files, "xllamacpp")
        return replace(site.record, made={"library": str(library.relative_to(files))}, **facts(library))
    program = _program(files)
    for path in paths[1:]:
        _lay_beside(path, program.parent, site.folder / "beside", site.report)
    return replace(site.record, program=str(program.relative_to(files)), **facts(program))


def look(one: Installed, environ: Mapping[str, str], *, gpu: bool) -> probe.Seen:
    """What an installed build says of itself. Blocking."""
    if one.record.runs == "wheel":
        return probe.package(one.program, one.checked, environ, gpu=gpu)
    return probe.server(one.program, environ, gpu=gpu)


def _own(choice: Choice) -> Build:
    if not _OWN_NAME.match(choice.name):
        raise BadRequest("A build's name is made of a-z, 0-9, dots and hyphens.", hint="E.g. my-build.")
    if choice.name in RESERVED:
        raise BadRequest(f"The name {choice.name!r} means something else.", hint="E.g. my-build.")
    return Build(
        name=choice.name,
        source="release",
        runs="server",
        backend=OWN,
        version=choice.wish.version or "1",
        licence="",
        inside="brought by the user",
        loses=("lark",),
    )


def _brought(path: Path, wanted: Wanted, copy: Path, report: Report) -> Path:
    """A copy of a file of the user's, verified against its digest; he must have one. A copy, because others
    may be able to change the file itself before it is unpacked."""
    if not path.is_file():
        raise NotFound("There is no such file.", hint="Check the path.", detail=str(path))
    report.say(f"verifying {path.name}", 0, 0)
    with guarded("reading the file"):
        copy.parent.mkdir(exist_ok=True)
        with copy.open("xb") as out:
            found = digest(path, report.check, out.write)
    if not wanted.sha256:
        raise SourceFailed(
            f"The digest of {path.name} is not known here, so it is not installed.",
            hint=f"Compare it with what its publisher states and give it: --sha256 {found}",
        )
    if found != wanted.sha256:
        raise DigestMismatch(
            f"The file {path.name} has the digest sha256:{found}, sha256:{wanted.sha256} was expected.",
            hint="Nothing was installed. Get it from its publisher again.",
        )
    return copy


def _program(files: Path) -> Path:
    """The llama-server among some files, the one nearest to the top. Raises SourceFailed."""
    name = f"{compile.NEEDED}.exe" if sys.platform == "win32" else compile.NEEDED
    found = sorted((p for p in files.rglob(name) if p.is_file()), key=lambda p: (len(p.parts), str(p)))
    if not found:
        raise SourceFailed("There is no llama-server in it.", hint="Choose another file or version.")
    if os.name == "posix":
        with contextlib.suppress(OSError):
            found[0].chmod(0o755)
    return found[0]


def _largest(files: Path, package: str) -> Path:
    """The package's own library. Raises SourceFailed."""
    libraries = [p for p in (files / package).glob("*") if p.suffix in (".so", ".pyd")]
    if not libraries:
        raise SourceFailed(f"There is no {package} in it.", hint="Choose another file or version.")
    return max(libraries, key=lambda p: p.stat().st_size)


def _lay_beside(archive: Path, target: Path, scratch: Path, report: Report) -> None:
    """Put the libraries of a second archive next to the program, which looks for them there."""
    unpack(archive, scratch, report.check)
    with guarded("unpacking a build"):
        for path in scratch.rglob("*"):
            if path.is_file() and not (target / path.name).exists():
                path.rename(target / path.name)
        shutil.rmtree(scratch, ignore_errors=True)


__all__ = ["LOG", "OWN", "Choice", "Installer", "Report", "look"]
