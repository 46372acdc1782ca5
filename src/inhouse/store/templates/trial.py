"""A chat template is a program by a stranger: it is tried before it is kept, in a child with little.

``sandbox`` renders a few small chats in Jinja's sandbox under limits of CPU time and memory. Only templates
that take more than a second, more memory than a chat could need, or recurse without end are refused; one
that raises may be meant to, and engines know filters that Jinja does not.

``render`` has the same child render one chat, for a template that comes with a request.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from ...core.errors import BadRequest, BodyTooLarge, StoreError

WALL_SECONDS: Final = 20.0
KEPT: Final = ("HOME", "PATH", "PYTHONPATH", "SYSTEMROOT", "USERPROFILE", "APPDATA")
"""What Python needs to find its packages: a stranger's program gets no keys."""
CHILD: Final = Path(__file__).with_name("sandbox.py")

_REASONS: Final = {
    "time": "it takes more than a second for a short chat",
    "memory": "it takes more memory for a short chat than any chat needs",
    "recursion": "it calls itself without end",
    "range": "it counts further than any chat needs",
    "unsafe": "it reaches for the insides of the program that renders it",
}


LONGEST: Final = 32 * 2**20


@functools.lru_cache(maxsize=256)
def check(template: str) -> None:
    """Raises BadRequest for a template that would hang or exhaust an engine. Blocking, about 0.2 s.

    Raises StoreError where it could not be tried.
    """
    verdict, detail = _child(template.encode("utf-8", "replace"))
    if verdict in _REASONS:
        _refuse(verdict)
    if verdict != "ok":
        _untried(detail)


def render(template: str, variables: Mapping[str, Any]) -> str:
    """The text that a Jinja template makes of ``variables`` (JSON values). Blocking, about 0.2 s.

    Raises BadRequest for a template that fails, runs away or is refused, BodyTooLarge for more than
    ``LONGEST`` bytes of variables, StoreError where it could not be tried.
    """
    order = json.dumps({"template": template, "variables": variables}).encode()
    if len(order) > LONGEST:
        raise BodyTooLarge(
            f"What the template is to render is larger than {LONGEST // 2**20} MiB.",
            hint="Shorten the conversation.",
            param="template",
        )
    said, detail = _child(order, "render")
    try:
        answer = json.loads(said)
        word, text = str(answer["word"]), str(answer["text"])
    except (ValueError, LookupError, TypeError):  # it died, and _child said of what
        word, text = said, ""
    if word == "ok":
        return text
    if word == "failed":
        raise BadRequest(
            "The template of this request cannot be rendered.",
            hint="Check it; it may also refuse this order of messages.",
            param="template",
            detail=text,
        )
    if word in _REASONS:
        _refuse(word)
    _untried(detail)


def _child(given: bytes, *arguments: str) -> tuple[str, str]:
    """What the child said, or the word for how it ended; and the end of its standard error."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(CHILD), *arguments],
            input=given,
            capture_output=True,
            timeout=WALL_SECONDS,
            env={name: os.environ[name] for name in KEPT if name in os.environ},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "time", ""
    said = done.stdout.decode("ascii", "replace").strip()
    if done.returncode < 0 or (sys.platform == "win32" and done.returncode > 255):
        said = said or "time"
    return said, done.stderr.decode("utf-8", "replace")[-500:]


def _refuse(word: str) -> NoReturn:
    raise BadRequest(
        f"The chat template is refused: {_REASONS[word]}.",
        hint="Use another template: a template is a program that runs for every chat.",
        param="template",
    )


def _untried(detail: str) -> NoReturn:
    raise StoreError("The chat template could not be tried.", hint="See the log.", detail=detail)


__all__ = ["check", "render"]
