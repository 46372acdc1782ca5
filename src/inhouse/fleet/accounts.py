"""What each tenant has had of one model, in tokens of work: deficit round robin. Pure.

A tenant's turn comes round when what it *spent* is not above the *level* that all in line have reached. Who
is served is charged the estimate and waits until the others have had as much. If nobody in line may be
served, the level rises to the one who spent least, so the line never stands still (the quantum of a round
is as small as it can be, and one request is served in a turn). What a request really took is settled
afterwards: who promises little and takes much waits the longer for it.

After M. Shreedhar and G. Varghese, Efficient Fair Queuing Using Deficit Round Robin (1995), with the
surplus form of it: a request need not be covered before it is served, only afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

MOST: Final = 256
"""Accounts that are kept before those that owe nothing are dropped."""


class Accounts:
    """Tokens by tenant. Nobody saves up: who was away begins at the level."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self._level = 0.0
        self._most = MOST

    def owed(self, tenant: str) -> float:
        """Tokens that the tenant had beyond the level; 0 for who may be served."""
        return max(0.0, self._spent.get(tenant, 0.0) - self._level)

    def next(self, tenants: Iterable[str]) -> str | None:
        """Whose turn it is, of those given in the order of their turns."""
        least: str | None = None
        for tenant in tenants:
            spent = self._spent.get(tenant, 0.0)
            if spent <= self._level:
                return tenant
            if least is None or spent < self._spent[least]:
                least = tenant
        if least is not None:
            self._level = self._spent[least]
        return least

    def charge(self, tenant: str, work: float) -> None:
        """A request of ``work`` tokens is served."""
        self._spent[tenant] = max(self._spent.get(tenant, 0.0), self._level) + work
        if len(self._spent) > self._most:
            self._spent = {name: spent for name, spent in self._spent.items() if spent > self._level}
            self._most = max(MOST, 2 * len(self._spent))  # so it is seldom done, however many there are

    def settle(self, tenant: str, difference: float) -> None:
        """It took ``difference`` tokens more than was charged (less, if negative)."""
        spent = self._spent.get(tenant, 0.0)
        self._spent[tenant] = (spent if difference < 0 else max(spent, self._level)) + difference

    def clear(self) -> None:
        """Nobody waits or runs: all are even."""
        self._spent.clear()
        self._level = 0.0
