"""One child process, from its start to its end. Owns the answer to "is it running"."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

from ..core.engine import Launch
from ..core.errors import LoadFailed
from .output import Output, last_words

Probe = Callable[[], Awaitable[bool]]

_FIRST_PROBE = 0.005  # seconds between probes of a starting child; grows to the last
_LAST_PROBE = 0.2
_LAST_OUTPUT = 0.5  # seconds to read what a dead child still had to say
_EXPENDABLE = 500  # of 1000: added to how likely the kernel ends a worker when memory runs out


class _Child(asyncio.SubprocessProtocol):
    """Turns the event loop's callbacks into two futures and a stream of bytes."""

    def __init__(self, output: Output) -> None:
        loop = asyncio.get_running_loop()
        self._output = output
        self.exited: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._output.feed(data)

    def process_exited(self) -> None:
        if not self.exited.done():
            self.exited.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.process_exited()
        if not self.closed.done():
            self.closed.set_result(None)


class Process:
    """Runs ``launch.command`` once. A second life is a second Process.

    The child gets ``launch.env`` and nothing else, a session of its own (a Ctrl-C at the terminal is
    for us, not for it), no descriptor but its three, and a standard input that stays open as long as
    we live: its end tells the child that we are gone.
    """

    def __init__(self, launch: Launch, *, log: Path | None = None) -> None:
        self._launch = launch
        self._output = Output(log)
        self._transport: asyncio.SubprocessTransport | None = None
        self._child: _Child | None = None
        self._kill_timer: asyncio.TimerHandle | None = None
        self._unwanted = False
        self._buried = False

    @property
    def pid(self) -> int | None:
        """None before it started."""
        return self._transport.get_pid() if self._transport else None

    @property
    def running(self) -> bool:
        return self._child is not None and not self._child.exited.done()

    @property
    def returncode(self) -> int | None:
        """Exit code; the negative number of the signal that killed it; None while it runs."""
        return self._transport.get_returncode() if self._transport else None

    def tail(self) -> str:
        """The last it printed."""
        return self._output.tail()

    def obituary(self) -> str:
        """How it ended, for people."""
        code = self.returncode
        if code is None:
            return "its process did not end"
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"its process was killed ({signal.Signals(-code).name})"
        return f"its process ended with exit code {code}"

    async def start(self, probe: Probe, timeout: float) -> None:
        """Start the child and wait until ``probe`` says yes.

        Raises LoadFailed when it cannot start, ends, or is not ready after ``timeout`` seconds; it
        is gone then. An end is noticed at once, not at the next probe.
        """
        child = await self._spawn()
        try:
            async with asyncio.timeout(timeout):
                await self._until_ready(child, probe)
        except TimeoutError:
            await self._end()
            raise self._failure(f"it was not ready after {timeout:g} s") from None
        except BaseException:
            self.kill()
            raise
        if child.exited.done():
            await self._end()
            raise self._failure(self.obituary())

    async def _spawn(self) -> _Child:
        self._sweep()
        options: dict[str, Any] = {"start_new_session": True} if sys.platform != "win32" else {}
        try:
            _seal_descriptors()
            transport, child = await asyncio.get_running_loop().subprocess_exec(
                lambda: _Child(self._output),
                *self._launch.command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=self._launch.env,
                cwd=os.path.abspath(os.sep),
                close_fds=True,
                **options,
            )
        except (OSError, ValueError) as error:
            raise LoadFailed(
                "The model's worker could not be started.",
                hint="Run inhouse doctor to check the engine.",
                detail=str(error),
            ) from error
        self._transport, self._child = transport, child
        _volunteer(transport.get_pid())
        if self._unwanted:
            self.kill()
        elif self._launch.stdin:
            cast(asyncio.WriteTransport, transport.get_pipe_transport(0)).write(self._launch.stdin)
        return child

    async def _until_ready(self, child: _Child, probe: Probe) -> None:
        pause = _FIRST_PROBE
        while not child.exited.done():
            check = asyncio.ensure_future(probe())
            either: set[asyncio.Future[Any]] = {check, child.exited}
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if check.done() and check.result():
                    return
            finally:
                check.cancel()
            await asyncio.wait({child.exited}, timeout=pause)
            pause = min(pause * 1.3, _LAST_PROBE)

    def _failure(self, how: str) -> LoadFailed:
        tail = self.tail()
        return LoadFailed(
            f"The model could not be loaded: {how}.",
            hint=last_words(tail) or "The worker printed nothing.",
            detail=tail,
        )

    async def wait(self) -> None:
        """Until the child has ended and all it printed is read. It must have been started."""
        child = self._child
        if child is None or self._buried:
            return
        await asyncio.wait({child.exited})
        await asyncio.wait({child.closed}, timeout=_LAST_OUTPUT)
        self._bury()

    def stop(self, grace: float) -> None:
        """Ask the child to end, and kill it ``grace`` seconds later if it has not."""
        self._unwanted = True
        if self._transport is None or not self.running:
            return
        with contextlib.suppress(ProcessLookupError):
            self._transport.terminate()
        if self._kill_timer is None:
            self._kill_timer = asyncio.get_running_loop().call_later(grace, self.kill)

    def kill(self) -> None:
        """End the child and whatever it started, now."""
        self._unwanted = True
        if self._transport is None or not self.running:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                self._transport.kill()
            else:
                os.killpg(self._transport.get_pid(), signal.SIGKILL)

    async def _end(self) -> None:
        self.kill()
        await self.wait()

    def _bury(self) -> None:
        self._buried = True
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        if self._transport is not None:
            self._transport.close()
        self._output.close()
        self._sweep()

    def _sweep(self) -> None:
        """A socket that a killed worker left behind would block the next one; what it told of its kernels
        would be taken for the next one's."""
        socket = self._launch.address if sys.platform != "win32" and "/" in self._launch.address else ""
        for path in filter(None, (socket, self._launch.kernels)):
            with contextlib.suppress(OSError):
                os.unlink(path)


def _seal_descriptors() -> None:
    """Let no child inherit what our own parent left open to us.

    ``close_fds`` is not enough: uvloop takes the argument and closes nothing (seen with 0.23).
    """
    if sys.platform == "win32":
        return
    for name in os.listdir("/proc/self/fd" if sys.platform == "linux" else "/dev/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):  # the one that listed the folder is closed by now
                os.set_inheritable(int(name), False)


def _volunteer(pid: int) -> None:
    """When memory runs out let the kernel end the worker, which can be started again, and not the server:
    ``oom_score_adj`` of proc(5), which anyone may raise and children inherit. Linux only."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/oom_score_adj").write_text(str(_EXPENDABLE), "ascii")
