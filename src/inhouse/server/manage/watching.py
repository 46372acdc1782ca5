"""Who may see what of others: the operator everything, everybody else what is their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..answers import Info, Scope

if TYPE_CHECKING:
    from .services import Services


def seen_by(services: Services, scope: Scope) -> str | None:
    """Whose requests this caller may look at: None everybody's, else those of one tenant.

    The operator is whoever sends this machine's token (the command line does) or the first of the server's
    keys. All others see what was asked with their own key, or from their own address.
    """
    info: Info = scope["inhouse"]
    owner = services.keys.owner
    if services.trusts(scope) or (owner and info.caller.tenant == owner):
        return None
    return info.caller.tenant
