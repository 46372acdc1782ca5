"""Where things lie on this machine is told to its own user only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..answers import Scope

if TYPE_CHECKING:
    from .services import Services


def for_asker(services: Services, scope: Scope, report: Any) -> Any:
    """JSON values without any field ``path``, unless this machine's own command line asks."""
    return report if services.trusts(scope) else _without(report)


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without(item) for key, item in value.items() if key != "path"}
    if isinstance(value, list | tuple):
        return [_without(item) for item in value]
    return value
