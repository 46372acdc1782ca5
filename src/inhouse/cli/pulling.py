"""Pull a model and show how far it is: bars on a terminal, silence elsewhere.

The bars are rich's. Its import costs about 70 ms, which a download does not notice; nothing else
here imports it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any, Protocol

from ..core.errors import InhouseError, NotFound
from . import output, places
from .client import Client

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Display(Protocol):
    """Shows the events of a pull."""

    def show(self, event: dict[str, Any]) -> None: ...


class Quiet:
    """For streams that nobody watches."""

    def show(self, event: dict[str, Any]) -> None:
        return


class Bars:
    """A bar for each blob, with bytes, rate and time left; other statuses as they change."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}
        self._status = ""

    def show(self, event: dict[str, Any]) -> None:
        status, total = output.clean(str(event.get("status", ""))), event.get("total")
        key = str(event.get("digest") or status)
        done = int(event.get("completed") or 0)
        if not total:
            if status and status != self._status:
                self._progress.console.print(status, markup=False, highlight=False)
            self._status = status
        elif key in self._tasks:
            self._progress.update(self._tasks[key], completed=done)
        else:
            # What was there before is no speed of ours, so a resumed blob starts where it is.
            self._tasks[key] = self._progress.add_task(status, total=int(total), completed=done)


class Counting:
    """A file that tells how much of it was read."""

    def __init__(self, file: IO[bytes], count: Callable[[int], None]) -> None:
        self._file, self._count = file, count

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self._count(len(data))
        return data


@contextlib.contextmanager
def counted(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar for bytes that this program itself moves."""
    done = 0
    with display() as bars:

        def count(more: int) -> None:
            nonlocal done
            done += more
            bars.show({"status": label, "total": total, "completed": done})

        yield count


@contextlib.contextmanager
def display(*, steps: bool = False) -> Iterator[Display]:
    """Bars for a person, nothing for a program. ``steps``: what is counted are steps, not always bytes."""
    if not output.is_terminal(sys.stderr):
        yield Quiet()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    sizes = (TimeElapsedColumn(),) if steps else (DownloadColumn(), TransferSpeedColumn())
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        *sizes,
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield Bars(progress)


def job(
    client: Client, path: str, body: dict[str, Any], again: str, *, steps: bool = False
) -> dict[str, Any]:
    """Start a long job and show how far it is; the last event. ``again`` says how to go on with it.

    Raises what the server reports.
    """
    last: dict[str, Any] = {}
    with display(steps=steps) as bars, client.stream(path, {**body, "stream": True}) as stream:
        for last in stream.events():
            bars.show(last)
    if last.get("status") != "success":
        raise InhouseError(f"the {path.rpartition('/')[2]} broke off", hint=again)
    return last


def pull(client: Client, model: str, **options: bool) -> str:
    """Pull ``model`` and return the name it has here. Raises what the server reports."""
    asked = {"model": places.meant(model, client), **{name: True for name, on in options.items() if on}}
    try:
        last = job(client, "/api/pull", asked, f"It goes on where it was: inhouse pull {model}")
    except NotFound as error:
        raise NotFound(
            error.message, hint=error.hint or "Check the name; see: inhouse pull --help"
        ) from error
    return str((last.get("result") or {}).get("model") or model)


def ensure(client: Client, model: str) -> tuple[str, dict[str, Any]]:
    """The model's name here and what /api/show says of it, pulled first when it is missing."""
    wanted = places.meant(model, client)
    try:
        return wanted, client.call("POST", "/api/show", {"model": wanted})
    except NotFound:
        name = pull(client, model)
        return name, client.call("POST", "/api/show", {"model": name})
