"""The values that a chat template is given: as Go names and types them, and as a Jinja template gets them.

Go side: the fields of Ollama's template values. Jinja side: the messages and tools of the OpenAI API, the
form in which every engine hands them to a template.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Type:
    """``kind``: text, int, bool, nil, any, list, map, struct, or mixed (of use as a condition only).

    ``fields``: Go's name -> (key on the Jinja side, type). ``item`` is the type inside lists and maps.
    ``json``: what Go prints as JSON. ``missing`` is what stands for an absent value, "" if it never is.
    """

    kind: str
    fields: Mapping[str, tuple[str, Type]] = field(default_factory=dict)
    item: Type | None = None
    json: bool = False
    missing: str = ""


TEXT: Final = Type("text", missing="''")
INT: Final = Type("int")
BOOL: Final = Type("bool")
NIL: Final = Type("nil")
ANY: Final = Type("any")
MIXED: Final = Type("mixed")
TEXTS: Final = Type("list", item=TEXT, missing="[]")
ANYS: Final = Type("list", item=ANY, missing="[]")

# A type in a JSON schema: a text, or a list of them.
KIND: Final = Type("kind", missing="''")
PROPERTY: Final = Type(
    "struct",
    {
        "Type": ("type", KIND),
        "Description": ("description", TEXT),
        "Enum": ("enum", ANYS),
        "Items": ("items", ANY),
        "Required": ("required", TEXTS),
    },
)
PARAMETERS: Final = Type(
    "struct",
    {
        "Type": ("type", TEXT),
        "Required": ("required", TEXTS),
        "Properties": ("properties", Type("map", item=PROPERTY, json=True, missing="{}")),
        "Items": ("items", ANY),
        "Defs": ("$defs", ANY),
    },
    missing="{}",
)
FUNCTION: Final = Type(
    "struct",
    {"Name": ("name", TEXT), "Description": ("description", TEXT), "Parameters": ("parameters", PARAMETERS)},
)
TOOL: Final = Type("struct", {"Type": ("type", TEXT), "Function": ("function", FUNCTION)}, json=True)
TOOLS: Final = Type("list", item=TOOL, json=True, missing="[]")
ARGUMENTS: Final = Type("map", item=ANY, json=True, missing="{}")
CALLED: Final = Type("struct", {"Name": ("name", TEXT), "Arguments": ("arguments", ARGUMENTS)})
CALL: Final = Type("struct", {"ID": ("id", TEXT), "Function": ("function", CALLED)})
MESSAGE: Final = Type(
    "struct",
    {
        "Role": ("role", TEXT),
        "Content": ("content", TEXT),
        "Thinking": ("reasoning_content", TEXT),
        "ToolCalls": ("tool_calls", Type("list", item=CALL, missing="[]")),
        "ToolName": ("name", TEXT),
        "ToolCallID": ("tool_call_id", TEXT),
    },
)
MESSAGES: Final = Type("list", item=MESSAGE)
