"""The HTTP edge: a table of routes, one generate endpoint for all dialects, streaming, guards."""

from .app import App
from .kept.background import Background
from .keys import Keys
from .manage.services import Services
from .run import bind, check_public, is_loopback, make_server

__all__ = ["App", "Background", "Keys", "Services", "bind", "check_public", "is_loopback", "make_server"]
