"""Chat templates as Ollama's models have them, in Go's ``text/template``, translated to Jinja.

Engines speak Jinja. A template that cannot be translated so that it prints the same is refused with the
line and the reason; nothing is guessed.
"""

from .chat import is_go, is_jinja, translate
from .jinja import check

__all__ = ["check", "is_go", "is_jinja", "translate"]
