"""The child of ``trial``: renders the template on standard input a few times, within limits.

Run as a file, so it imports nothing of ours and starts quickly. Prints one word: ok, time, memory,
recursion, range or unsafe. Dying of its limits says the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

CPU_SECONDS = 2
MEMORY = 512 * 2**20
CEILING = 8 * 2**20

_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
_CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello?"},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": "What is the weather in Paris?"},
]


def _limit() -> None:
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # elsewhere address space is no measure of memory
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _environment() -> Any:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )

    def raised(message: str = "") -> None:
        raise ValueError(message)

    environment.globals |= {"raise_exception": raised, "strftime_now": lambda text: text}
    return environment


def _word(render: Callable[[], object]) -> str:
    """What to say of one rendering."""
    from jinja2.exceptions import SecurityError

    try:
        render()
    except MemoryError:
        return "memory"
    except RecursionError:
        return "recursion"
    except OverflowError:  # the sandbox bounds range()
        return "range"
    except SecurityError:
        return "unsafe"
    except Exception:  # noqa: BLE001 - whatever else it does is the engine's to judge
        return "ok"
    return "ok"


def main() -> None:
    """Try the template on standard input."""
    text = sys.stdin.buffer.read(CEILING).decode("utf-8", "replace")
    environment = _environment()
    _limit()
    common = {"messages": _CHAT, "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>"}
    for extra in ({}, {"tools": [_TOOL], "enable_thinking": True}):
        word = _word(lambda given=extra: environment.from_string(text).render(**common, **given))  # type: ignore[misc]
        if word != "ok":
            sys.stdout.write(word)
            sys.stdout.flush()
            return
    sys.stdout.write("ok")


if __name__ == "__main__":
    main()
