"""Any server of OpenAI's wire as an engine, by configuration alone: ``[engines.NAME]`` of config.toml."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, Protocol

from ..core.engine import Launch
from ..core.errors import Unsupported
from ..core.features import OPENAI
from ..core.models import Card
from ..core.requests import LoadOptions
from .recipe import Availability, Room, Settings, check_engine
from .registry import Other
from .served import CONTEXT, Server, free_port, new_key

OVERHEAD: Final = 512 * 2**20
"""Bytes beside weights and KV cache where the section tells no ``memory``."""


class Program(Protocol):
    """See ``config.programs.Program``."""

    @property
    def name(self) -> str: ...
    @property
    def command(self) -> tuple[str, ...]: ...
    @property
    def env(self) -> Mapping[str, str]: ...
    @property
    def formats(self) -> tuple[str, ...]: ...
    @property
    def models(self) -> tuple[str, ...]: ...
    @property
    def ready(self) -> str: ...
    @property
    def serves(self) -> str: ...
    @property
    def takes(self) -> frozenset[str]: ...
    @property
    def lacks(self) -> frozenset[str]: ...
    @property
    def context_length(self) -> int: ...
    @property
    def slots(self) -> int: ...
    @property
    def memory(self) -> int: ...
    @property
    def start_timeout(self) -> float: ...


def others(programs: Iterable[Program]) -> tuple[Other, ...]:
    """The registry's entries for the programs of a configuration."""
    return tuple(_other(program) for program in programs)


def _other(program: Program) -> Other:
    def find(settings: Settings, state: Path | None, environ: Mapping[str, str]) -> Availability:
        return able(program, environ)

    def make(settings: Settings, state: Path | None, environ: Mapping[str, str]) -> Command:
        return Command(program, settings, environ)

    return Other(program.name, find, make, claims=lambda card: claims(program, card))


def able(program: Program, environ: Mapping[str, str]) -> Availability:
    """Whether the command is there. Starts nothing."""
    first = program.command[0]
    found = shutil.which(first, path=environ.get("PATH", "")) or ""
    if found:
        return Availability(program.name, True, path=found)
    return Availability(
        program.name,
        False,
        why="its command is not there",
        fix=f"Check the command of [engines.{program.name}] in config.toml.",
    )


def claims(program: Program, card: Card) -> bool:
    """Whether the configuration gives this model to the program by name."""
    return any(fnmatchcase(str(card.name), pattern) for pattern in program.models)


class Command:
    """Recipe for one program."""

    grammars: frozenset[str] = frozenset()

    def __init__(self, program: Program, settings: Settings, environ: Mapping[str, str]) -> None:
        self._program = program
        self._settings = settings
        self._environ = dict(environ)

    @property
    def name(self) -> str:
        return self._program.name

    @property
    def build(self) -> str:
        return f"{self._program.name} (config.toml)"

    def cards(self) -> tuple[Card, ...]:
        """None: all models come from the store."""
        return ()

    def can(self, card: Card) -> bool:
        return card.format in self._program.formats or claims(self._program, card)

    def launch(self, card: Card, options: LoadOptions, *, room: Room, address: str, secret: str) -> Launch:
        """How to start it. Where its command takes a port it gets one, with a key of its own.

        Raises BadRequest; Unsupported where the command is not there or needs a socket that there is none.
        """
        check_engine(card, self.name)
        program, found = self._program, able(self._program, self._environ)
        if not found.ok:
            raise Unsupported(f"The engine '{self.name}': {found.why}.", hint=found.fix, param="model")
        texts = (*program.command, *program.env.values())
        by_port = any("{port}" in text for text in texts)
        keyed = any("{key}" in text for text in texts)
        if not by_port and sys.platform == "win32":
            raise Unsupported(
                f"The engine '{self.name}' listens on a socket, which this system has not.",
                hint=f"Use {{host}} and {{port}} in [engines.{self.name}].",
                param="model",
            )
        if by_port:
            address = f"127.0.0.1:{free_port()}"
        key = new_key() if keyed else ""
        context = self._context(card, options)
        values = {
            "model": card.weights,
            "name": str(card.name),
            "socket": address,
            "host": "127.0.0.1",
            "port": address.rpartition(":")[2],
            "key": key,
            "context": context,
            "slots": program.slots,
            "threads": options.threads or self._settings.threads or room.cores,
        }
        words = [word.format_map(values) for word in program.command]
        env = {name: text.format_map(values) for name, text in program.env.items()}
        server = Server([found.path, *words[1:]], env)
        kv = card.footprint.kv_per_token * context * program.slots
        return Launch(
            engine=self.name,
            address=address,
            secret=key,
            slots=program.slots,
            context_length=context,
            memory=program.memory or card.footprint.weights + kv + OVERHEAD,
            ready_timeout=program.start_timeout,
            ready_path=program.ready,
            build=self.build,
            grammars=self.grammars,
            wire="openai",
            served_as=program.serves.format_map(values),
            takes=(OPENAI | program.takes) - program.lacks,
            notices=tuple(self._notices(open_port=by_port and not keyed)),
            **server.launch(self._environ),  # type: ignore[arg-type]
        )

    def _context(self, card: Card, options: LoadOptions) -> int:
        """Tokens of a slot; a command that is told none has its own."""
        longest = self._program.context_length or card.context_length or CONTEXT
        if not any("{context}" in text for text in (*self._program.command, *self._program.env.values())):
            return longest
        wanted = options.context_length or card.tuning.context_length or self._program.context_length
        return min(wanted, longest) if wanted else longest

    def _notices(self, *, open_port: bool) -> Iterator[str]:
        """What a person should know of how it is run."""
        if open_port:
            yield (
                f"The engine '{self.name}' listens on a port of this machine without a key: other users of"
                " the machine can ask it. Use {socket} in its command, or {key} in its env."
            )
        if any("{key}" in word for word in self._program.command):
            yield (
                f"The key of the engine '{self.name}' stands in its command, which other users of the machine"
                " see in the list of processes. Use {key} in its env, if it reads one there."
            )
        if self._settings.prompt_sharing == "none":
            yield (
                f"Whether the engine '{self.name}' keeps prompts for others is its own affair:"
                " INHOUSE_PROMPT_SHARING does not reach it."
            )


__all__ = ["Command", "Program", "able", "claims", "others"]
