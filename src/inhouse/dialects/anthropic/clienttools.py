"""Anthropic's client tools whose input is documented: a shell, a text editor, a memory.

A request names them by their type only; other models must be told what they take. The schemas follow
Anthropic's public description of each tool.
"""

from __future__ import annotations

from typing import Any

_TEXT, _LINE = {"type": "string"}, {"type": "integer", "minimum": 0}
_RANGE = {
    "type": "array",
    "items": {"type": "integer"},
    "minItems": 2,
    "maxItems": 2,
    "description": "First and last line, counted from 1; -1 as the last is the end of the file.",
}
_EDITS: dict[str, Any] = {
    "path": {**_TEXT, "description": "Path of the file or folder."},
    "view_range": _RANGE,
    "file_text": {**_TEXT, "description": "For create: the text of the new file."},
    "old_str": {**_TEXT, "description": "For str_replace: what to replace; it must occur exactly once."},
    "new_str": {**_TEXT, "description": "For str_replace: what to put in its place."},
    "insert_line": {**_LINE, "description": "For insert: the line after which to insert, 0 is the start."},
}
_INSERT_TEXT = {**_TEXT, "description": "For insert: the text to insert."}
_PATHS = {
    "old_path": {**_TEXT, "description": "For rename: the path now."},
    "new_path": {**_TEXT, "description": "For rename: the path afterwards."},
}


def _schema(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _commands(*names: str) -> dict[str, Any]:
    return {"command": {"type": "string", "enum": list(names)}}


_BASH = (
    "Run a command in a shell that keeps its state between calls.",
    _schema(
        {
            "command": {**_TEXT, "description": "The command to run."},
            "restart": {"type": "boolean", "description": "True to start the shell anew."},
        }
    ),
)
_EDITOR = "View, create and edit text files."
_MEMORY = "Keep notes as files under /memories and read them again in later conversations."
_VIEW = ("view", "create", "str_replace", "insert")

CLIENT_TOOLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bash_20250124": ("bash", *_BASH),
    "bash_20241022": ("bash", *_BASH),
    "text_editor_20250728": (
        "str_replace_based_edit_tool",
        _EDITOR,
        _schema({**_commands(*_VIEW), **_EDITS, "insert_text": _INSERT_TEXT}, "command", "path"),
    ),
    "text_editor_20250429": (
        "str_replace_based_edit_tool",
        _EDITOR,
        _schema({**_commands(*_VIEW), **_EDITS}, "command", "path"),
    ),
    "text_editor_20250124": (
        "str_replace_editor",
        _EDITOR,
        _schema({**_commands(*_VIEW, "undo_edit"), **_EDITS}, "command", "path"),
    ),
    "memory_20250818": (
        "memory",
        _MEMORY,
        _schema(
            {**_commands(*_VIEW, "delete", "rename"), **_EDITS, "insert_text": _INSERT_TEXT, **_PATHS},
            "command",
        ),
    ),
}
"""Type to name, description and schema."""
