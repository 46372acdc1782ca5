"""Loads the model of an order, then serves it until told to end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys

from . import guard
from .transformers_http import Site
from .transformers_model import Loaded, Order
from .transformers_routes import Routes
from .transformers_turns import Turns


async def serve(order: Order, loaded: Loaded) -> None:
    """Listen until SIGTERM or SIGINT. The socket appears once everything is ready to be asked."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    turns = Turns(order.slots)
    turns.start()
    site = Site(Routes(order, loaded, turns).table(), order.secret)
    await site.listen(order.address)
    if sys.platform != "win32":
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, done.set)
    say(f"transformers: {order.slots} slots of {order.context_length} tokens on {loaded.device}")
    await done.wait()


def say(text: str) -> None:
    """One line for the log."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def main() -> None:
    """Read the order, tie our life to the parent's, load, serve."""
    try:
        order = Order.of(guard.read_order())
    except (TypeError, ValueError) as error:
        raise SystemExit(f"transformers: the order is wrong: {error}") from None
    guard.die_with_parent()
    guard.let_others_in()
    try:
        loaded = Loaded.load(order)
    except (OSError, ValueError, ImportError, RuntimeError, KeyError) as error:
        raise SystemExit(f"transformers: {' '.join(str(error).split())[:500]}") from None
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(order, loaded))
    os._exit(0)  # threads that compute are not waited for
