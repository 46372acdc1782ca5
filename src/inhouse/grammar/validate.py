"""Is a text a JSON value that is valid under a schema? Says so in few words, never in the text's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..core.errors import BadRequest

MAX_REASON = 80


class Validator:
    """Compiled once for a request; ``schema`` is the client's own, not what the engine was given."""

    def __init__(self, schema: Mapping[str, Any], param: str = "response_format") -> None:
        """Raises BadRequest naming ``param`` when it is no valid schema. Nothing is ever fetched."""
        import jsonschema_rs

        try:
            self._validator = jsonschema_rs.validator_for(
                dict(schema), validate_formats=True, offline=True, ignore_unknown_formats=True
            )
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            raise BadRequest(
                f"Invalid value for '{param}': it is not a valid JSON Schema.",
                hint="Check it against the draft that its $schema names.",
                param=param,
                detail=str(error)[:500],
            ) from None

    def valid(self, text: str) -> str | None:
        """None when ``text`` is valid JSON under the schema, else a short reason (<= 80 characters)."""
        try:
            value = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            return "it is not valid JSON"
        error = next(iter(self._validator.iter_errors(value)), None)
        if error is None:
            return None
        where = "/".join(str(part) for part in error.instance_path)
        return f"{error.kind.name} does not hold at '/{where}'"[:MAX_REASON]


def _no_constant(name: str) -> None:
    raise ValueError(name)
