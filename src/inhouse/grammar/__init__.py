"""Languages an answer must belong to: can this engine enforce one, and is this text a word of it.

An engine that fails to compile a grammar goes on *without* it, so nothing reaches one unchecked.
"""

from .check import check, check_tools, engine_grammar, relaxed
from .validate import Validator

__all__ = ["Validator", "check", "check_tools", "engine_grammar", "relaxed"]
