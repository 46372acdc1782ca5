"""JSON Schemas rewritten into the few words that engines enforce rightly; what has no such form is named.

The life of a schema: ``source`` finds the draft and what references mean; ``expand`` resolves everything
that combines (allOf, anyOf, oneOf, not, if, dependencies, references) into plain alternatives of one type,
``negate`` says what the opposite of a keyword is; ``scalars``, ``arrays`` and ``objects`` turn an alternative
into words; ``build`` puts them together. A rewritten schema may be narrower than the original, never wider.
"""

from .alternatives import EVERY_KEY
from .build import Rewritten, rewrite
from .errors import Impossible, Inexpressible
from .source import Source

__all__ = ["EVERY_KEY", "Impossible", "Inexpressible", "Rewritten", "Source", "rewrite"]
