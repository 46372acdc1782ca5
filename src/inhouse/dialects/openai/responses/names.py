"""Ids and names that the codec makes up."""

from __future__ import annotations

import secrets

PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
}


def fresh(prefix: str) -> str:
    """A new id: the prefix and 48 random hex digits."""
    return f"{prefix}_{secrets.token_hex(24)}"


def item_id(kind: str) -> str:
    """A new id for an item of this type."""
    return fresh(PREFIXES[kind])


def within(namespace: str | None, name: str) -> str:
    """What a model knows a function as: names of different namespaces must differ."""
    return f"{namespace}__{name}" if namespace else name
