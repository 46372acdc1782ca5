"""How much a model thinks before it answers."""

from __future__ import annotations

from ..fields import INT32_MAX, Fields, wrong_value

# As Ollama maps them too: engines know four levels.
EFFORTS: dict[str, bool | str] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "max": "max",
}


def read_thinking(body: Fields) -> tuple[bool | str | None, int | None]:
    """Whether or how hard to think, and the most tokens of it; ``reasoning`` is what others send."""
    effort = body.choice("reasoning_effort", *EFFORTS)
    budget = _budget(body)
    other = body.mapping("reasoning")
    if other is not None:
        second = other.choice("effort", *EFFORTS)
        if effort is not None and second is not None and effort != second:
            wrong_value(other.at("effort"), "the same as 'reasoning_effort', or only one of them", second)
        effort = effort or second
        most = other.whole("max_tokens", 0, INT32_MAX)
        budget = most if budget is None else budget
        other.refuse("exclude", False)
        switched = other.flag("enabled")
        if effort is None and switched is not None:
            return switched, budget
    return (None if effort is None else EFFORTS[effort]), budget


def _budget(body: Fields) -> int | None:
    """Two names for the same thing are in use."""
    one = body.whole("think_budget", 0, INT32_MAX)
    other = body.whole("thinking_budget", 0, INT32_MAX)
    if one is not None and other is not None and one != other:
        wrong_value("thinking_budget", "the same as 'think_budget', or only one of them", other)
    return other if one is None else one
