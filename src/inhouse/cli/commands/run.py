"""``inhouse run``."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from ... import config
from ...core.errors import BadRequest
from .. import chat, options, output, pulling, server
from ..base import HELP, Command, complete_model
from ..client import Client
from ..screen import Spinner


class RunCommand(Command):
    """``--think`` may stand alone, whatever follows it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        bare = [("--think=true" if a == "--think" else a) for a in args[:end]]
        return super().parse_args(ctx, bare + args[end:])


@click.command(
    "run",
    cls=RunCommand,
    context_settings=HELP,
    examples="""
    inhouse run smollm2
    inhouse run smollm2 "Why is the sky blue?"
    cat notes.txt | inhouse run smollm2 "Summarise this in one sentence."
    inhouse run qwen2.5-coder:0.5b --format schema.json "Invent a person."
    inhouse run smollm2 --option temperature=0 --seed 7 --verbose "Tell a joke."
    inhouse run smollm2 --keepalive 1h ""
    """,
)
@click.argument("model", shell_complete=complete_model)
@click.argument("prompt", nargs=-1)
@click.option("--system", metavar="TEXT", help="The system message, in place of the model's own.")
@click.option(
    "--format", "answer_format", metavar="json|SCHEMA", help="Answer in JSON; by a schema: inline or a file."
)
@click.option(
    "--option", "pairs", multiple=True, metavar="NAME=VALUE", help="A model option, such as temperature=0.2."
)
@click.option("--context", type=click.IntRange(1), metavar="N", help="Context length in tokens.")
@click.option("--seed", type=int, metavar="N", help="Same seed, same answer.")
@click.option("--keepalive", metavar="DUR", help="How long the model stays loaded: 10m, 0, -1 for ever.")
@click.option(
    "--think", metavar="[=LEVEL]", help="Think first: true (bare), false, low, medium, high or max."
)
@click.option("--hidethinking", is_flag=True, help="Do not show the thinking.")
@click.option("--verbose", is_flag=True, help="Print all statistics after the answer.")
@click.option("--stats", is_flag=True, help="Print tokens, TTFT and tokens/s after the answer.")
@click.option("--nowordwrap", is_flag=True, help="Let the terminal break lines.")
def command(model: str, prompt: tuple[str, ...], **flags: Any) -> None:
    """Talk to a model; it is pulled first when it is not here.

    With a PROMPT, or with text piped in (which comes before the prompt), the answer is printed
    and that is all. Else a conversation begins: /? lists what it understands, Ctrl-C stops an
    answer, Ctrl-D leaves. An empty prompt ("") loads the model and leaves.
    """
    session = _session(model, **flags)
    text = _prompt(prompt)
    settings = config.load(os.environ)
    spinner = Spinner("Starting the server")
    try:
        client = server.connect(settings, spinner.tick)
    finally:
        spinner.stop()
    session.model, shown = pulling.ensure(client, model)
    capabilities = shown.get("capabilities") or []
    if "embedding" in capabilities and not {"completion", "chat"} & set(capabilities):
        _embed(client, session, text)
    elif text is None:
        from ..repl import converse

        converse(client, session, settings.home)
    elif text == "":
        chat.load(client, session)
    else:
        session.messages.append({"role": "user", "content": text})
        chat.ask(client, session)


def _session(model: str, **flags: Any) -> chat.Session:
    """The session that the options ask for. Raises BadRequest."""
    given = options.assignments(flags["pairs"])
    if flags["context"] is not None:
        given["num_ctx"] = flags["context"]
    if flags["seed"] is not None:
        given["seed"] = flags["seed"]
    return chat.Session(
        model=model,
        system=flags["system"] or "",
        options=given,
        format=options.answer_format(flags["answer_format"]) if flags["answer_format"] else None,
        think=options.think(flags["think"]) if flags["think"] else None,
        keep_alive=options.keep_alive(flags["keepalive"]) if flags["keepalive"] else None,
        hide_thinking=flags["hidethinking"],
        wrap=not flags["nowordwrap"],
        verbose=flags["verbose"],
        stats=flags["stats"],
    )


def _prompt(words: tuple[str, ...]) -> str | None:
    """What to ask: piped text, then the words; None for a conversation. Raises BadRequest."""
    piped = _piped()
    if piped is None:
        if words:
            return " ".join(words)
        if not output.is_terminal(sys.stdout):
            raise BadRequest("there is no prompt", hint='Give one: inhouse run MODEL "..."')
        return None
    text = "\n\n".join(part for part in (piped.rstrip("\n"), " ".join(words)) if part)
    if not text and not words:
        raise BadRequest("there is no prompt: nothing was piped in", hint='Give one: inhouse run MODEL "..."')
    return text


def _piped() -> str | None:
    """All of stdin; None when it is a terminal or closed."""
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        return None
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest("what was piped in is not UTF-8 text", hint="Convert it with iconv.") from error


def _embed(client: Client, session: chat.Session, text: str | None) -> None:
    """An embedding model answers with its vector, one JSON array on a line."""
    if not text:
        raise BadRequest(
            f"'{session.model}' makes embeddings and cannot converse",
            hint='Give it a text: inhouse run MODEL "some text"',
        )
    body: dict[str, Any] = {"model": session.model, "input": text, "options": session.options}
    if session.keep_alive is not None:
        body["keep_alive"] = session.keep_alive
    vector = client.call("POST", "/api/embed", body)["embeddings"][0]
    output.data("[" + ", ".join(map(repr, vector)) + "]")
