"""The conversation: slash commands, messages of several lines, errors that end a turn only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.scripted import Api, Refusal, says
from inhouse.cli import repl, slash
from inhouse.cli.chat import Session
from inhouse.cli.client import Client

Talk = Callable[..., tuple[slash.Conversation, str, str]]


@pytest.fixture
def talk(api: Api, capsys: pytest.CaptureFixture[str]) -> Talk:
    """Have a conversation of the given lines; an exception class is raised by the reader."""

    def run(*lines: Any, **session: Any) -> tuple[slash.Conversation, str, str]:
        host, _, port = api.address.partition(":")
        conversation = slash.Conversation(Client(host, int(port)), Session("tiny", **session))
        script = iter([*lines, EOFError])

        def read(prompt: str) -> str:
            line = next(script)
            if isinstance(line, type):
                raise line
            return str(line)

        repl.loop(conversation, read)
        return conversation, *capsys.readouterr()

    return run


def test_a_conversation_remembers(api: Api, talk: Talk) -> None:
    _, out, _ = talk("One", "  ", "Two")
    assert out == "Hello.\nHello.\n"
    assert api.bodies("/api/chat")[1]["messages"] == [
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Two"},
    ]


def test_clear_forgets(api: Api, talk: Talk) -> None:
    talk("One", "/clear", "Two")
    assert len(api.bodies("/api/chat")[1]["messages"]) == 1


def test_triple_quotes_hold_a_message_together(api: Api, talk: Talk) -> None:
    talk('"""', "a", "", 'b"""', '"""one line"""')
    assert [b["messages"][-1]["content"] for b in api.bodies("/api/chat")] == ["a\n\nb", "one line"]


def test_quotes_inside_a_message_are_left_alone(api: Api, talk: Talk) -> None:
    talk('What does """ mean?')
    assert api.bodies("/api/chat")[0]["messages"][0]["content"] == 'What does """ mean?'


def test_a_system_message_may_have_several_lines(api: Api, talk: Talk) -> None:
    talk('/set system """Be', 'brief."""', "Hi")
    assert api.bodies("/api/chat")[0]["messages"][0] == {"role": "system", "content": "Be\nbrief."}


def test_what_set_sets_is_sent(api: Api, talk: Talk) -> None:
    talk(
        "/set system Be brief.",
        "/set parameter temperature 0.5",
        '/set parameter stop "A B" C',
        "/set parameter num_ctx 512",
        "/set format json",
        "/set think high",
        "Hi",
    )
    (body,) = api.bodies("/api/chat")
    assert body["options"] == {"temperature": 0.5, "stop": ["A B", "C"], "num_ctx": 512}
    assert (body["format"], body["think"]) == ("json", "high")
    assert body["messages"][0]["content"] == "Be brief."


def test_what_is_unset_is_not_sent(api: Api, talk: Talk) -> None:
    talk("/set format json", "/set noformat", "/set think", "/set nothink", "Hi")
    (body,) = api.bodies("/api/chat")
    assert "format" not in body
    assert body["think"] is False


def test_switches(talk: Talk) -> None:
    conversation, _, err = talk("/set verbose", "/set nowordwrap", "/set nohistory", "Hi")
    assert (conversation.session.verbose, conversation.session.wrap, conversation.history) == (
        True,
        False,
        False,
    )
    assert "eval rate:" in err
    conversation, _, err = talk("/set quiet", "/set wordwrap", "/set history", "Hi", verbose=True)
    assert (conversation.session.verbose, conversation.session.wrap, conversation.history) == (
        False,
        True,
        True,
    )
    assert "eval rate:" not in err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/what", "Unknown command '/what'. Type /? for help."),
        ("/set what", "Unknown command '/set what'. Type /help set for help."),
        ("/show what", "Unknown command '/show what'. Type /help show for help."),
        ("/set system", "Usage: /set system <text>"),
        ("/set format", "Usage: /set format json|<schema>"),
        ("/load", "Usage: /load <model>"),
        ("/set parameter seed x", "Error: option seed must be a whole number"),
        ("/set parameter stop 'x", "Error: the value is not understood: No closing quotation"),
        ("/set think hard", "Error: 'hard' is not a way to think"),
    ],
)
def test_what_is_not_understood_is_said_and_not_sent(api: Api, talk: Talk, line: str, said: str) -> None:
    _, _, err = talk(line)
    assert err.splitlines()[0] == said
    assert not api.bodies("/api/chat")


def test_parameters_without_a_value_are_listed(talk: Talk) -> None:
    assert "\n  temperature\n" in talk("/set parameter")[2]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("/?", slash.HELP),
        ("/help", slash.HELP),
        ("/help set", slash.HELP_SET),
        ("/set", slash.HELP_SET),
        ("/? /show", slash.HELP_SHOW),
    ],
)
def test_help(talk: Talk, line: str, text: str) -> None:
    assert talk(line)[2] == text + "\n"


def test_help_names_every_command() -> None:
    text = slash.HELP + slash.HELP_SET + slash.HELP_SHOW
    missing = [w for w in slash.WORDS if w.split()[-1] not in text]
    assert not missing


@pytest.mark.parametrize("word", ["/bye", "/exit", "  /bye "])
def test_goodbye_leaves(api: Api, talk: Talk, word: str) -> None:
    talk(word, "Hi")
    assert not api.bodies("/api/chat")


def test_ctrl_c_at_the_prompt_explains_how_to_leave(api: Api, talk: Talk) -> None:
    _, out, err = talk(KeyboardInterrupt, "Hi")
    assert (out, err) == ("Hello.\n", "Use Ctrl-D or /bye to leave.\n")


def test_an_error_ends_the_turn_and_takes_the_question_back(api: Api, talk: Talk) -> None:
    answers = iter([Refusal(503, {"error": "busy"}), says("Now.")])
    api.routes["/api/chat"] = lambda _: next(answers)
    _, out, err = talk("One", "Two")
    assert out == "Now.\n"
    assert err.startswith("Error: busy\nHint: ")
    assert [m["content"] for m in api.bodies("/api/chat")[1]["messages"]] == ["Two"]


def test_load_changes_the_model_and_begins_anew(api: Api, talk: Talk) -> None:
    conversation, _, err = talk("One", "/load other", "Two")
    assert conversation.session.model == "other"
    assert "Loaded 'other'." in err
    load, last = api.bodies("/api/chat")[1:]
    assert (load["model"], load["messages"]) == ("other", [])
    assert [m["content"] for m in last["messages"]] == ["Two"]


def test_a_load_that_fails_keeps_the_model(api: Api, talk: Talk) -> None:
    api.routes["/api/chat"] = Refusal(500, {"error": "it does not fit"})
    conversation, _, err = talk("/load other")
    assert conversation.session.model == "tiny"
    assert "Error: it does not fit" in err


def test_show_and_list(api: Api, talk: Talk) -> None:
    api.routes["/api/show"] = {
        "details": {"parameter_size": "134.52M"},
        "template": "{{ x }}",
        "parameters": "stop    x",
        "license": "Apache",
    }
    lines = ["/show", "/show info", "/show template", "/show parameters", "/show license"]
    _, out, _ = talk("/set parameter seed 1", *lines, "/show system", "/show modelfile", "/list")
    assert out.count("parameters    134.52M") == 2
    assert "{{ x }}\nModel:\n  stop    x\nYours:\n  seed " in out
    assert "Apache\nNo system message was set.\nThis model has no modelfile.\nNAME " in out


def test_history_is_private_and_can_be_switched_off(tmp_path: Path) -> None:
    conversation = slash.Conversation(Client("127.0.0.1", 1), Session("tiny"))
    history = repl._history(tmp_path / "home", conversation)
    history.append_string("kept")
    conversation.history = False
    history.append_string("secret")
    file = tmp_path / "home" / "history"
    assert "kept" in file.read_text()
    assert "secret" not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


def test_a_home_that_cannot_be_written_costs_only_the_history(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    conversation = slash.Conversation(Client("127.0.0.1", 1), Session("tiny"))
    history = repl._history(tmp_path / "file", conversation)
    history.append_string("in memory")
    assert history.get_strings() == ["in memory"]
