"""Routes of our own."""

from __future__ import annotations

from .words import BOOL, INT, LIST, MODEL, OBJ, STRING, Fields

FIELDS: Fields = {
    "Alias": (
        {"name": (STRING, "The new name.", {}), "model": (STRING, "The model it follows.", {})},
        ("name", "model"),
    ),
    "Prune": (
        {
            "dry_run": (BOOL, "Only say what would be freed.", {}),
            "all": (BOOL, "Also what was uploaded within the last hour.", {}),
        },
        (),
    ),
    "Verify": ({"repair": (BOOL, "Pull damaged models again.", {})}, ()),
    "Models": ({"models": (LIST, "Names; none is all.", {"items": {"type": STRING}})}, ()),
    "Lock": (
        {
            "inhouse_lock": (INT, "The format: 1.", {}),
            "models": (LIST, "As in a lock file.", {"items": {"type": OBJ}}),
        },
        ("inhouse_lock", "models"),
    ),
    "Diff": (
        {"model": MODEL, "other": (STRING, "Another model; without it the previous version.", {})},
        ("model",),
    ),
}
