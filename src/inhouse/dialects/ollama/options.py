"""Ollama's ``options``: load-time ones -> LoadOptions, the others -> Sampling.

Type errors carry Ollama's own text. What the request leaves out stays None, so that the model's own
defaults come next; ``DEFAULTS`` ride along as the fallback after those. Names that Ollama has given up,
and names it never knew, are ignored as Ollama does, but noted.
"""

from __future__ import annotations

from typing import Any, NoReturn

from ...core.errors import BadRequest
from ...core.messages import Sampling
from ...core.requests import LoadOptions
from ..fields import INT32_MAX, Fields, engine_seed, wrong_value

MAX_STOPS = 64
MAX_STOP_CHARS = 1024
MIN_CONTEXT = 4
_DRAFTED = 4  # what Ollama means when draft_num_predict is not said
DEFAULTS = Sampling(
    temperature=0.8,
    top_p=0.9,
    top_k=40,
    min_p=0.0,
    typical_p=1.0,
    repeat_penalty=1.0,
    repeat_last_n=64,
    presence_penalty=0.0,
    frequency_penalty=0.0,
)


def read_options(body: Fields, *, least: int = MIN_CONTEXT) -> tuple[LoadOptions, Sampling]:
    """Both halves of ``options``; a context is at least ``least`` tokens.

    Raises BadRequest; Unsupported for what cannot be done here.
    """
    options = body.mapping("options") or Fields({}, "options")
    options.refuse("main_gpu", why="The engine spreads a model over the GPUs by itself.")
    _whole(options, "num_keep", -(2**63), 2**63 - 1)
    options.note("num_keep")  # what to keep of a context that is cut: none is ever cut while it runs
    drafted = _whole(options, "draft_num_predict", -(2**63), 2**63 - 1)
    if drafted not in (None, 0, _DRAFTED):
        options.refuse("draft_num_predict", why="It belongs to a model: set it when creating one.")
    options.note("draft_num_predict")
    return _load_options(options, least), _sampling(options)


def _load_options(options: Fields, least: int) -> LoadOptions:
    context = _whole(options, "num_ctx", 0, INT32_MAX)
    use_mmap = options.get("use_mmap")
    if use_mmap is not None and not isinstance(use_mmap, bool):
        _wrong_type("use_mmap", "boolean")
    return LoadOptions(
        context_length=max(least, context) if context else None,
        batch=_whole(options, "num_batch", 0, INT32_MAX) or None,
        gpu_layers=_whole(options, "num_gpu", -1, INT32_MAX),
        threads=_whole(options, "num_thread", 0, 4096) or None,
        use_mmap=use_mmap,
    )


def _sampling(options: Fields) -> Sampling:
    temperature = _number(options, "temperature", -100, 100)
    top_k = _whole(options, "top_k", -INT32_MAX, INT32_MAX)
    top_p = _number(options, "top_p", 0, 100)
    typical_p = _number(options, "typical_p", 0, 100)
    seed = _whole(options, "seed", -(2**63), 2**63 - 1)
    predict = _whole(options, "num_predict", -INT32_MAX, INT32_MAX)
    return Sampling(
        temperature=None if temperature is None else max(0.0, temperature),
        top_p=None if top_p is None else min(1.0, top_p),
        top_k=None if top_k is None else max(0, top_k),
        min_p=_number(options, "min_p", 0, 1),
        typical_p=None if typical_p is None else min(1.0, typical_p),
        seed=None if seed is None or seed < 0 else engine_seed(seed),
        repeat_penalty=_number(options, "repeat_penalty", 0.01, 100),
        repeat_last_n=_whole(options, "repeat_last_n", -1, INT32_MAX),
        presence_penalty=_number(options, "presence_penalty", -100, 100),
        frequency_penalty=_number(options, "frequency_penalty", -100, 100),
        max_tokens=predict if predict is not None and predict > 0 else None,
        stop=_stop(options),
        fallback=DEFAULTS,
    )


def _wrong_type(name: str, kind: str) -> NoReturn:
    raise BadRequest(f'option "{name}" must be of type {kind}', param=f"options.{name}")


def _whole(options: Fields, name: str, lo: int, hi: int) -> int | None:
    """A fraction is cut off, as Ollama does."""
    value = options.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        _wrong_type(name, "integer")
    if not lo <= value <= hi:
        wrong_value(options.at(name), f"a whole number from {lo} to {hi}", value)
    return int(value)


def _number(options: Fields, name: str, lo: float, hi: float) -> float | None:
    value = options.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        _wrong_type(name, "float32")
    if not lo <= value <= hi:
        wrong_value(options.at(name), f"a number from {lo:g} to {hi:g}", value)
    return float(value)


def _stop(options: Fields) -> tuple[str, ...]:
    value: Any = options.get("stop")
    if value is None:
        return ()
    if not isinstance(value, list):
        _wrong_type("stop", "array")
    if not all(isinstance(text, str) for text in value):
        raise BadRequest('option "stop" must be of an array of strings', param="options.stop")
    stops = tuple(text for text in value if text)
    if len(stops) > MAX_STOPS or any(len(text) > MAX_STOP_CHARS for text in stops):
        wrong_value("options.stop", f"at most {MAX_STOPS} strings of at most {MAX_STOP_CHARS} characters")
    return stops
