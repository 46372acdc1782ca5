"""A chat template is a program by a stranger: it is tried before it is kept, in a child with little.

``sandbox`` renders a few small chats in Jinja's sandbox under limits of CPU time and memory. Only templates
that take more than a second, more memory than a chat could need, or recurse without end are refused; one
that raises may be meant to, and engines know filters that Jinja does not.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from ...core.errors import BadRequest, StoreError

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


@functools.lru_cache(maxsize=256)
def check(template: str) -> None:
    """Raises BadRequest for a template that would hang or exhaust an engine. Blocking, about 0.2 s.

    Raises StoreError where it could not be tried.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(CHILD)],
            input=template.encode("utf-8", "replace"),
            capture_output=True,
            timeout=WALL_SECONDS,
            env={name: os.environ[name] for name in KEPT if name in os.environ},
            check=False,
        )
        verdict = done.stdout.decode("ascii", "replace").strip()
        if done.returncode < 0 or (sys.platform == "win32" and done.returncode > 255):
            verdict = verdict or "time"
        detail = done.stderr.decode("utf-8", "replace")[-500:]
    except subprocess.TimeoutExpired:
        verdict, detail = "time", ""
    if verdict in _REASONS:
        raise BadRequest(
            f"The chat template is refused: {_REASONS[verdict]}.",
            hint="Use another template: a template is a program that runs for every chat.",
            param="template",
        )
    if verdict != "ok":
        raise StoreError("The chat template could not be tried.", hint="See the log.", detail=detail)


__all__ = ["check"]
