"""Does one value satisfy one keyword? Asked of the validator, so that both mean the same."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any


@functools.lru_cache(4096)
def _validator(schema: str) -> Any:
    import jsonschema_rs

    return jsonschema_rs.validator_for(json.loads(schema), validate_formats=True, offline=True)


def holds(schema: Mapping[str, Any], value: Any) -> bool:
    """Whether ``value`` is valid under a schema without references."""
    return bool(_validator(json.dumps(schema)).is_valid(value))


@functools.lru_cache(16384)
def matches(pattern: str, text: str) -> bool:
    """Whether ``pattern`` matches somewhere in ``text``."""
    return holds({"pattern": pattern}, text)
