"""The child of ``trial``: renders the template on standard input a few times, within limits.

Run as a file, so it imports nothing of ours and starts quickly. Prints one word: ok, time, memory,
recursion, range or unsafe. Dying of its limits says the same.

With the argument ``render`` it renders one chat: standard input is ``{"template", "variables"}``, and it
prints ``{"word", "text"}``, where the word may also be failed, with the reason as the text.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

CPU_SECONDS = 2
MEMORY = 512 * 2**20
CEILING = 8 * 2**20
CHAT_CEILING = 64 * 2**20  # what is rendered may be a long conversation

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


def _tojson(value: Any, indent: int | None = None, separators: Any = None, sort_keys: bool = False) -> str:
    """JSON as chat templates mean it: nothing is escaped for a page."""
    kept = tuple(separators) if separators else None
    return json.dumps(value, ensure_ascii=False, indent=indent, separators=kept, sort_keys=sort_keys)


def _word(render: Callable[[], object]) -> str:
    """What to say of one rendering."""
    return _tried(render)[0]


def _tried(render: Callable[[], object]) -> tuple[str, str]:
    """The word, and why a rendering failed for another reason."""
    from jinja2.exceptions import SecurityError

    try:
        render()
    except MemoryError:
        return "memory", ""
    except RecursionError:
        return "recursion", ""
    except OverflowError:  # the sandbox bounds range()
        return "range", ""
    except SecurityError:
        return "unsafe", ""
    except Exception as error:  # noqa: BLE001 - whatever else it does is the engine's to judge
        return "ok", f"{type(error).__name__}: {error}"[:500]
    return "ok", ""


def render_one() -> None:
    """Render the chat on standard input."""
    order = json.loads(sys.stdin.buffer.read(CHAT_CEILING))
    environment = _environment()
    environment.filters["tojson"] = _tojson
    environment.globals["strftime_now"] = lambda text: datetime.now().strftime(text)
    _limit()
    out: list[str] = []
    word, why = _tried(
        lambda: out.append(environment.from_string(order["template"]).render(**order["variables"]))
    )
    if word == "ok" and not out:
        word = "failed"
    elif out and len(out[0]) > CEILING:
        word, out = "memory", []
    json.dump({"word": word, "text": out[0] if out else why}, sys.stdout)


def main() -> None:
    """Try the template on standard input."""
    if sys.argv[1:] == ["render"]:
        render_one()
        return
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
