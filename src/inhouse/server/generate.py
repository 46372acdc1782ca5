"""The one generate endpoint, for every dialect and task."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING

from ..core.errors import Draining, InhouseError
from ..core.events import Event
from ..core.requests import Caller
from ..dialects.codec import Decoded, ErrorAnswer
from . import answers
from .answers import Info, Receive, Scope, Send
from .stream import Pump, respond

log = logging.getLogger("inhouse.server")

if TYPE_CHECKING:
    from .manage.services import Services


@dataclasses.dataclass(frozen=True, slots=True)
class Generate:
    """An endpoint: ``decode`` and ``render`` belong to one dialect. ``inspect`` looks at the headers first,
    through a function from a header's lower-case name to its value, and may raise an InhouseError. ``run``
    stands between the runtime and the encoder where a dialect needs more than the runtime's events."""

    dialect: str
    decode: Callable[[bytes], Decoded]
    render: Callable[[InhouseError], ErrorAnswer]
    inspect: Callable[[Callable[[str], str | None]], None] | None = None
    run: Callable[[Services, Decoded, Caller], AsyncGenerator[Event, None]] | None = None

    async def __call__(self, services: Services, scope: Scope, receive: Receive, send: Send) -> None:
        settings = services.config.server
        body = await answers.body(scope, receive, settings.max_body)
        info: Info = scope["inhouse"]
        caller = dataclasses.replace(info.caller, dialect=self.dialect)
        try:
            if services.draining():
                raise Draining("The server is stopping.", hint="Try again in a moment.", retry_after=5)
            if self.inspect is not None:
                self.inspect(lambda name: answers.header(scope, name.encode()))
            decoded = self.decode(body)
        except InhouseError as error:
            info.outcome = error.code
            services.runtime.refuse(caller, error)
            await answers.error(scope, send, self.render(error))
            return
        if decoded.noted:
            log.debug("accepted without effect: %s", ", ".join(decoded.noted))
        if self.run is None:
            events = services.runtime.run(decoded.request, caller)
        else:
            events = self.run(services, decoded, caller)
        pump = Pump(
            scope, send, decoded.encoder, silence=settings.keepalive_interval, stall=settings.stall_timeout
        )
        await respond(scope, receive, lambda: pump.run(events, self.render))
