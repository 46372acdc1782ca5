"""The conversation at a terminal: read a line, obey it or send it, again.

prompt_toolkit reads the lines. It costs 150 ms to import, so only a conversation does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from ..core.errors import InhouseError
from . import chat, output, slash
from .client import Client
from .main import report

QUOTE = '"""'
_PLACEHOLDER = "Send a message (/? for help)"
Read = Callable[[str], str]  # a prompt in, a line out; raises EOFError, KeyboardInterrupt


def converse(client: Client, session: chat.Session, home: Path) -> None:
    """Converse until the person leaves."""
    talk = slash.Conversation(client, session)
    chat.load(client, session)
    loop(talk, reader(talk, home))


def loop(talk: slash.Conversation, read: Read) -> None:
    """The loop itself; ``read`` gives the lines."""
    while True:
        try:
            line = message(read)
        except KeyboardInterrupt:
            output.note("Use Ctrl-D or /bye to leave.")
            continue
        except EOFError:
            return
        if line.strip():
            try:
                turn(talk, line)
            except slash.Leave:
                return


def turn(talk: slash.Conversation, line: str) -> None:
    """Obey or send one message. Errors and Ctrl-C end the turn, not the conversation."""
    session = talk.session
    try:
        if line.lstrip().startswith("/"):
            slash.obey(talk, line)
            return
        session.messages.append({"role": "user", "content": line})
        chat.ask(talk.client, session)
    except KeyboardInterrupt:
        return
    except InhouseError as error:
        report(error)
        if session.messages and session.messages[-1]["role"] == "user":
            session.messages.pop()


def message(read: Read) -> str:
    """One message: a line, or all between triple quotes, which may follow a slash command."""
    line = read(">>> ")
    before, quote, text = line.partition(QUOTE)
    command = before.startswith("/set system")
    if not quote or (before.strip() and not command):
        return line
    while QUOTE not in text:
        text += "\n" + read("... ")
    return before + text.partition(QUOTE)[0].strip("\n")


class _History(FileHistory):
    """A history file that can be told not to keep what comes."""

    def __init__(self, path: Path, talk: slash.Conversation) -> None:
        super().__init__(str(path))
        self._talk = talk

    def store_string(self, string: str) -> None:
        if self._talk.history:
            super().store_string(string)


def _history(home: Path, talk: slash.Conversation) -> History:
    """The history in the home, readable by its owner alone; in memory where that cannot be written."""
    path = home / "history"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError:
        return InMemoryHistory()
    return _History(path, talk)


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("c-g")
    def _editor(event: KeyPressEvent) -> None:
        event.current_buffer.open_in_editor()

    return keys


def reader(talk: slash.Conversation, home: Path) -> Read:
    """A reader of lines from the terminal, with history, completion and an editor on Ctrl-G."""
    prompt: PromptSession[str] = PromptSession(
        history=_history(home, talk),
        completer=WordCompleter(slash.WORDS, sentence=True),
        complete_while_typing=False,
        key_bindings=_keys(),
        enable_open_in_editor=True,
    )

    def read(text: str) -> str:
        return prompt.prompt(text, placeholder=_PLACEHOLDER if text == ">>> " else None)

    return read
