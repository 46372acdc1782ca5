"""Ollama's Modelfile -> an order to make a model.

Facts of the language (keywords, where a value ends, byte order marks, ``(line N): ...``) are those of
Ollama's own parser, as of the version in ``core.create.COMPATIBLE``. Said here and not there: several
ADAPTERs, a model name behind DRAFT, an empty SYSTEM that takes the base's away, and Go's escapes in the
quoted value of a PARAMETER, which ``inhouse show --modelfile`` writes.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from ...core.create import (
    IDLE,
    MESSAGE_ROLES,
    OPTIONS,
    RETIRED,
    Create,
    FileRef,
    check_requires,
    option,
)
from ...core.errors import BadRequest, InhouseError, Unsupported
from ..templates.quoting import unquote
from .places import Place

LONGEST: Final = 4 * 2**20

_KEYWORDS: Final = (
    *("from", "license", "template", "system", "adapter", "draft"),
    *("renderer", "parser", "parameter", "message", "requires"),
)
_BLANK: Final = re.compile(r"(?:[ \t\r\n]+|#[^\r\n]*)+")
_WORD: Final = re.compile(r"[A-Za-z]+(?=[ \t])")
_NAME: Final = re.compile(r"[A-Za-z0-9_]+(?=[ \t])")
_END: Final = {
    '"""': re.compile(r'"""[ \t\v\f]*(?=[\r\n]|\Z)'),
    '"': re.compile(r'"[ \t\v\f]*(?=[\r\n]|\Z)'),
}
_NEWLINE: Final = re.compile(r"\r\n|\r|\n")
_INT: Final = re.compile(r"[+-]?[0-9]{1,19}\Z")
_FLOAT: Final = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,4})?\Z")
_TRUE: Final = {"1", "t", "T", "TRUE", "true", "True"}
_FALSE: Final = {"0", "f", "F", "FALSE", "false", "False"}


@dataclass(frozen=True, slots=True)
class Said:
    """One instruction: ``argument`` is PARAMETER's name or MESSAGE's role, ``quoted`` how the value stood."""

    keyword: str
    argument: str
    value: str
    quoted: str
    line: int


@dataclass(frozen=True, slots=True)
class Reading:
    """The order, and sentences for the user about lines without effect."""

    create: Create
    said: tuple[str, ...] = ()


def parse(data: bytes | str, *, name: str, place: Place) -> Reading:
    """A Modelfile as an order to make ``name``.

    Raises BadRequest with ``(line N): ...`` for what is no Modelfile, Unsupported for what cannot be done
    here.
    """
    reader = _Reader(place)
    for said in instructions(decode(data)):
        reader.take(said)
    return reader.finish(name)


def decode(data: bytes | str) -> str:
    """The text of a file in UTF-8 or, with a byte order mark, UTF-16. Raises BadRequest."""
    if len(data) > LONGEST:
        raise BadRequest("A Modelfile has at most 4 MiB.", hint="Put weights into files of their own.")
    if isinstance(data, str):
        text = data.removeprefix("\ufeff")
    else:
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        try:
            text = data.decode("utf-16" if wide else "utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            _refuse(line, "this is neither UTF-8 nor UTF-16 text", "Save the file as UTF-8.")
    if "\0" in text:
        _refuse(text.count("\n", 0, text.index("\0")) + 1, "a NUL has no place here", "Save it as UTF-8.")
    # A file whose lines all end as on Windows means plain line ends: they would get into every prompt.
    return text.replace("\r\n", "\n") if text.count("\r\n") == text.count("\n") else text


def _refuse(line: int, message: str, hint: str = "", kind: type[InhouseError] = BadRequest) -> NoReturn:
    raise kind(
        f"(line {line}): {message}", hint=hint or "The reference of the model file has all instructions."
    )


def instructions(text: str) -> Iterator[Said]:
    """The instructions in order, not yet understood. Raises BadRequest."""
    at, line, counted = 0, 1, 0
    while True:
        blank = _BLANK.match(text, at)
        at = blank.end() if blank else at
        if at >= len(text):
            return
        line += len(_NEWLINE.findall(text, counted, at))
        counted = at
        word = _WORD.match(text, at)
        keyword = word.group().lower() if word else ""
        if not word or keyword not in _KEYWORDS:
            names = ", ".join(f'"{each}"' for each in _KEYWORDS)
            _refuse(line, f"command must be one of {names}, with a value behind it")
        argument, at = _argument(text, word.end(), keyword, line)
        value, quoted, at = _value(text, at, line)
        yield Said(keyword, argument, value, quoted, line)


def _argument(text: str, at: int, keyword: str, line: int) -> tuple[str, int]:
    if keyword not in ("parameter", "message"):
        return "", at
    while at < len(text) and text[at] in " \t":
        at += 1
    found = _NAME.match(text, at)
    if not found:
        what = "a name and a value" if keyword == "parameter" else "a role and a text"
        _refuse(line, f"{keyword} needs {what}")
    return found.group(), found.end()


def _value(text: str, at: int, line: int) -> tuple[str, str, int]:
    """The value, the quotes around it, and where it ends: quotes close only where a line ends."""
    newline = _NEWLINE.search(text, at)
    line_end = newline.start() if newline else len(text)
    shown = text[at:line_end].strip(" \t\v\f")
    quotes = '"""' if shown.startswith('"""') else '"' if shown.startswith('"') else ""
    if not quotes:
        return shown, "", line_end
    start = text.index(quotes, at) + len(quotes)
    end = _END[quotes].search(text, start)
    if not end:
        _refuse(line, "the quoted value has no end", f"Close it with {quotes} at the end of a line.")
    return text[start : end.start()], quotes, end.end()


@dataclass(slots=True)
class _Reader:
    """Gathers the instructions of one file."""

    place: Place
    order: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    files: list[FileRef] = field(default_factory=list)
    adapters: list[FileRef] = field(default_factory=list)
    licence: list[str] = field(default_factory=list)
    messages: list[tuple[str, str]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def take(self, said: Said) -> None:
        if not said.value and said.keyword not in ("system", "message"):
            _refuse(said.line, f"{said.keyword} needs a value")
        known: dict[str, Callable[[Said], None]] = {
            "from": self._from,
            "parameter": self._parameter,
            "template": self._once,
            "system": self._once,
            "adapter": self._adapter,
            "draft": self._draft,
            "license": lambda said: self.licence.append(said.value),
            "message": self._message,
            "renderer": self._builtin,
            "parser": self._builtin,
            "requires": self._requires,
        }
        known[said.keyword](said)

    def finish(self, name: str) -> Reading:
        if not self.files and "base" not in self.order:
            raise BadRequest("no FROM line", hint="Say what to build on: FROM smollm2, or FROM ./model.gguf.")
        create = Create(
            name=name,
            files=tuple(self.files),
            adapters=tuple(self.adapters),
            licence=tuple(self.licence),
            parameters=self.parameters,
            messages=tuple(self.messages) or None,
            **self.order,
        )
        return Reading(create, tuple(self.said))

    def _from(self, said: Said) -> None:
        what = self._model(said)
        mixed = "base" in self.order or (self.files and isinstance(what, str))
        if mixed:
            _refuse(
                said.line,
                "FROM names one model, or one or more files",
                "A projector or draft beside a model goes into a model file in TOML.",
            )
        if isinstance(what, str):
            self.order["base"] = what
        else:
            self.files.append(what)

    def _model(self, said: Said) -> FileRef | str:
        return self.place.model(said.value, f"(line {said.line}): {said.keyword.upper()}")

    def _adapter(self, said: Said) -> None:
        self.adapters.append(self.place.file(said.value, f"(line {said.line}): ADAPTER"))

    def _draft(self, said: Said) -> None:
        if "draft" in self.order or "draft_model" in self.order:
            _refuse(said.line, "there is one DRAFT at most")
        what = self._model(said)
        self.order["draft_model" if isinstance(what, str) else "draft"] = what

    def _once(self, said: Said) -> None:
        # The last one wins, as in Ollama.
        self.order[said.keyword] = said.value

    def _message(self, said: Said) -> None:
        if said.argument not in MESSAGE_ROLES:
            _refuse(said.line, 'message role must be one of "system", "user", or "assistant"')
        self.messages.append((said.argument, said.value))

    def _builtin(self, said: Said) -> None:
        _refuse(
            said.line,
            f"{said.keyword.upper()} names code inside of Ollama, which is not here",
            "Remove the line; the model's own template says how prompts look.",
            Unsupported,
        )

    def _requires(self, said: Said) -> None:
        try:
            check_requires(said.value)
        except BadRequest as error:
            _refuse(said.line, error.message, error.hint, type(error))

    def _parameter(self, said: Said) -> None:
        name = said.argument
        if name in RETIRED:
            self.said.append(f"(line {said.line}): parameter {name} is deprecated and has no effect.")
            return
        try:
            value = option(name, _typed(said))
        except BadRequest as error:
            _refuse(said.line, error.message.removeprefix(f"(line {said.line}): "), error.hint, type(error))
        if name in IDLE:
            self.said.append(f"(line {said.line}): parameter {name} changes nothing: {IDLE[name]}.")
        self.parameters[name] = self.parameters.get(name, ()) + value if name == "stop" else value


def _typed(said: Said) -> Any:
    """A parameter's value as Ollama reads it, by the type of the option."""
    kind, text = OPTIONS.get(said.argument), said.value
    if kind is None:
        return text
    if kind is str:
        read = unquote(text) if said.quoted == '"' else text
        return text if read is None else read
    if kind is bool and text in _TRUE | _FALSE:
        return text in _TRUE
    if kind is int and _INT.match(text) and abs(number := int(text)) < 2**63:
        return number
    if kind is float and _FLOAT.match(text) and abs(real := float(text)) < 2**63:
        return real
    shown = text[:40] if text.isprintable() else ""
    _refuse(said.line, f"invalid {kind.__name__} value [{shown}]", f"{said.argument} takes another value.")
