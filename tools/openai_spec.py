"""Cut the schemas of answers out of OpenAI's published specification, for the tests.

usage: python3 tools/openai_spec.py openapi.json > tests/support/openai_answers.json

The specification is OpenAI's, under the MIT licence. Kept is structure alone: no text, no examples.
"""

from __future__ import annotations

import json
import sys
from typing import Any

ROOTS = (
    "CreateChatCompletionResponse",
    "CreateChatCompletionStreamResponse",
    "ChatCompletionList",
    "ChatCompletionDeleted",
    "ChatCompletionMessageList",
    "CreateCompletionResponse",
    "CreateEmbeddingResponse",
    "ListModelsResponse",
    "Model",
    "OpenAIFile",
    "ListFilesResponse",
    "DeleteFileResponse",
    "Response",
    "ResponseStreamEvent",
    "ResponseItemList",
    "TokenCountsResource",
    "ConversationResource",
    "ConversationItem",
    "ConversationItemList",
    "DeletedConversationResource",
    "ErrorResponse",
)
_WORDS = frozenset({"description", "title", "example", "examples", "externalDocs", "summary", "deprecated"})
_NAMES = frozenset({"properties", "$defs", "patternProperties"})
_PREFIX = "#/components/schemas/"


def structure(node: Any, wanted: set[str], *, names: bool = False) -> Any:
    """``node`` without its text; the schemas it refers to are added to ``wanted``."""
    if isinstance(node, list):
        return [structure(item, wanted) for item in node]
    if not isinstance(node, dict):
        return node
    out = {}
    for key, value in node.items():
        if not names and (key in _WORDS or key.startswith(("x-", "$recursive")) or key == "discriminator"):
            continue
        if key == "$ref" and not names:
            wanted.add(value.removeprefix(_PREFIX))
            out[key] = value.replace(_PREFIX, "#/$defs/")
        elif key in ("enum", "const", "default") and not names:
            out[key] = value
        else:
            out[key] = structure(value, wanted, names=not names and key in _NAMES)
    # The older way to say it, which the document still uses although its version has another.
    return {"anyOf": [out, {"type": "null"}]} if not names and out.pop("nullable", False) is True else out


def main() -> int:
    with open(sys.argv[1], encoding="utf-8") as file:
        schemas = json.load(file)["components"]["schemas"]
    wanted, kept = set(ROOTS), {}
    while missing := wanted - kept.keys():
        for name in sorted(missing):
            kept[name] = structure(schemas[name], wanted)
    json.dump({"$defs": dict(sorted(kept.items()))}, sys.stdout, separators=(",", ":"), sort_keys=True)
    print()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
