"""The slash commands of a conversation: a table of names, each a small function on the session."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..core.errors import BadRequest
from . import options, output, pulling, views
from .chat import Session, load
from .client import Client

HELP = """\
Available Commands:
  /set            Set session variables
  /show           Show model information
  /load <model>   Load a model and begin a new conversation
  /list           List the models that are here
  /clear          Forget the conversation
  /bye, /exit     Leave
  /?, /help       Help for a command: /help set, /help show

Use \"\"\" to begin and end a message of several lines.
Ctrl-C stops an answer, Ctrl-D leaves, Ctrl-G opens your editor."""

HELP_SET = """\
Available Commands:
  /set system <text>             Set the system message
  /set parameter <name> <value>  Set an option; without arguments, list them
  /set format json|<schema>      Answer in JSON; by a schema: inline or a file
  /set noformat                  Answer in any form
  /set think [level]             Think before answering
  /set nothink                   Answer at once
  /set verbose, /set quiet       Show or hide statistics
  /set history, /set nohistory   Keep or do not keep what you type
  /set wordwrap, nowordwrap      Wrap words at the edge, or do not"""

HELP_SHOW = """\
Available Commands:
  /show info        Show what is known of the model
  /show system      Show the system message
  /show parameters  Show the options, the model's and yours
  /show template    Show the chat template
  /show modelfile   Show the Modelfile
  /show license     Show the licence"""


@dataclass(slots=True)
class Conversation:
    """What slash commands work on."""

    client: Client
    session: Session
    history: bool = True


class Leave(Exception):
    """The person has said goodbye: no error, but the way out of the loop."""


def obey(talk: Conversation, line: str) -> None:
    """Carry out one line that begins with a slash. Raises Leave, InhouseError."""
    name, _, rest = line.strip().partition(" ")
    command = _COMMANDS.get(name)
    if command is None:
        output.note(f"Unknown command '{name}'. Type /? for help.")
    else:
        command(talk, rest.strip())


def _help(talk: Conversation, rest: str) -> None:
    output.note({"set": HELP_SET, "/set": HELP_SET, "show": HELP_SHOW, "/show": HELP_SHOW}.get(rest, HELP))


def _bye(talk: Conversation, rest: str) -> None:
    raise Leave


def _clear(talk: Conversation, rest: str) -> None:
    talk.session.messages.clear()
    output.note("Forgot the conversation.")


def _list(talk: Conversation, rest: str) -> None:
    entries = views.named(talk.client.get("/api/tags")["models"], rest)
    output.data(views.models(entries, datetime.now(UTC)))


def _load(talk: Conversation, rest: str) -> None:
    if not rest:
        output.note("Usage: /load <model>")
        return
    name, _ = pulling.ensure(talk.client, rest)
    before = talk.session.model
    talk.session.model = name
    try:
        load(talk.client, talk.session)
    except BaseException:
        talk.session.model = before
        raise
    talk.session.messages.clear()
    output.note(f"Loaded '{name}'.")


def _show(talk: Conversation, rest: str) -> None:
    session, part = talk.session, rest or "info"
    answer: dict[str, Any] = talk.client.call("POST", "/api/show", {"model": session.model})
    if part == "info":
        output.data(views.model(answer))
    elif part == "parameters":
        _two("Model", str(answer.get("parameters") or "").rstrip())
        _two("Yours", "\n".join(f"{name:<30} {value}" for name, value in session.options.items()))
    elif part == "system":
        output.data(session.system or str(answer.get("system") or "") or "No system message was set.")
    elif part in ("template", "modelfile"):
        output.data(str(answer.get(part) or f"This model has no {part}."))
    elif part == "license":
        output.data(views.licence(answer) or "This model has no license.")
    else:
        output.note(f"Unknown command '/show {part}'. Type /help show for help.")


def _two(title: str, text: str) -> None:
    output.data(f"{title}:\n" + "\n".join(f"  {line}" for line in (text or "none").splitlines()))


def _set(talk: Conversation, rest: str) -> None:
    name, _, value = rest.partition(" ")
    setter = _SETTERS.get(name)
    if setter is None:
        output.note(f"Unknown command '/set {name}'. Type /help set for help." if name else HELP_SET)
    else:
        setter(talk, value.strip())


def _system(talk: Conversation, value: str) -> None:
    if not value:
        output.note("Usage: /set system <text>")
        return
    talk.session.system = value.removeprefix('"""').removesuffix('"""').strip()
    output.note("Set system message.")


def _parameter(talk: Conversation, value: str) -> None:
    try:
        words = shlex.split(value, posix=False)
    except ValueError as error:
        raise BadRequest(f"the value is not understood: {error}", hint="Close the quotes.") from error
    if len(words) < 2:
        output.note("Usage: /set parameter <name> <value>\n  " + "\n  ".join(options.NAMES))
        return
    talk.session.options[words[0]] = options.option(words[0], words[1:])
    output.note(f"Set parameter '{words[0]}' to '{' '.join(words[1:])}'")


def _format(talk: Conversation, value: str) -> None:
    if not value:
        output.note("Usage: /set format json|<schema>")
        return
    talk.session.format = options.answer_format(value)
    output.note("Set format to JSON." if value == "json" else "Set format to the schema.")


def _no_format(talk: Conversation, value: str) -> None:
    talk.session.format = None
    output.note("Disabled format.")


def _think(talk: Conversation, value: str) -> None:
    talk.session.think = options.think(value or "true")
    output.note("Set 'think' mode." if not value else f"Set 'think' mode to '{value}'.")


def _no_think(talk: Conversation, value: str) -> None:
    talk.session.think = False
    output.note("Set 'nothink' mode.")


def _switch(attribute: str, value: bool, said: str) -> Callable[[Conversation, str], None]:
    def setter(talk: Conversation, _: str) -> None:
        setattr(talk if attribute == "history" else talk.session, attribute, value)
        output.note(said)

    return setter


_SETTERS: dict[str, Callable[[Conversation, str], None]] = {
    "system": _system,
    "parameter": _parameter,
    "format": _format,
    "noformat": _no_format,
    "think": _think,
    "nothink": _no_think,
    "verbose": _switch("verbose", True, "Set 'verbose' mode."),
    "quiet": _switch("verbose", False, "Set 'quiet' mode."),
    "history": _switch("history", True, "What you type is kept."),
    "nohistory": _switch("history", False, "What you type is not kept."),
    "wordwrap": _switch("wrap", True, "Set 'wordwrap' mode."),
    "nowordwrap": _switch("wrap", False, "Set 'nowordwrap' mode."),
}
_COMMANDS: dict[str, Callable[[Conversation, str], None]] = {
    "/set": _set,
    "/show": _show,
    "/load": _load,
    "/list": _list,
    "/clear": _clear,
    "/bye": _bye,
    "/exit": _bye,
    "/help": _help,
    "/?": _help,
}
WORDS = [
    *_COMMANDS,
    *(f"/set {name}" for name in _SETTERS),
    *(f"/show {part}" for part in ("info", "system", "parameters", "template", "modelfile", "license")),
]
