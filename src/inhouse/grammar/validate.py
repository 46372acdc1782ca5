"""Is a text a JSON value that is valid under a schema? Says so in few words, never in the text's own."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from ..core.errors import BadRequest
from .schema.source import draft_of

MAX_REASON = 80


class Validator:
    """Compiled once for a request; ``schema`` is the client's own, not what the engine was given."""

    def __init__(self, schema: Mapping[str, Any] | bool, param: str = "response_format") -> None:
        """Raises BadRequest naming ``param`` when it is no valid schema. Nothing is ever fetched."""
        import jsonschema_rs

        drafts = {
            4: jsonschema_rs.Draft4Validator,
            6: jsonschema_rs.Draft6Validator,
            7: jsonschema_rs.Draft7Validator,
            2019: jsonschema_rs.Draft201909Validator,
        }
        draft = draft_of(schema)
        rest = (
            {key: value for key, value in schema.items() if key != "$schema"}
            if isinstance(schema, Mapping)
            else schema
        )
        try:
            kind = drafts.get(draft, jsonschema_rs.Draft202012Validator)
            self._validator = kind(rest, validate_formats=True, offline=True)
        except (ValueError, jsonschema_rs.ReferencingError, RecursionError) as error:
            raise BadRequest(
                f"Invalid value for '{param}': it is not a valid JSON Schema.",
                hint="Check it against the draft that its $schema names.",
                param=param,
                detail=str(error)[:500],
            ) from None

    def valid(self, text: str) -> str | None:
        """None when ``text`` is valid JSON under the schema, else a short reason (<= 80 characters)."""
        try:
            value = json.loads(text, parse_constant=_no_constant, parse_float=_number)
            json.dumps(value, ensure_ascii=False).encode()  # surrogates that stand alone
        except (ValueError, RecursionError):
            return "it is not valid JSON"
        error = next(iter(self._validator.iter_errors(value)), None)
        if error is None:
            return None
        where = "/".join(str(part) for part in error.instance_path)
        return f"{error.kind.name} does not hold at '/{where}'"[:MAX_REASON]


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _number(text: str) -> float:
    """JSON has no largest number, a double has: what is beyond it counts as the largest."""
    return max(-sys.float_info.max, min(float(text), sys.float_info.max))
