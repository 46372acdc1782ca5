"""What conversations have in common in every dialect: roles and ceilings."""

from __future__ import annotations

from ..core.messages import Role

MAX_MESSAGES = 10_000
MAX_CALLS = 128
ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
