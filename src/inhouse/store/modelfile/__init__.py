"""Model files: what a user writes to make a model, and the text that shows how one was made.

``parse`` reads Ollama's Modelfile, ``parse_declared`` Inhouse's own in TOML or YAML; both give an order to
make a model. ``render`` and ``parameters`` are the texts of ``/api/show``.
"""

from .declared import parse_declared
from .places import Place
from .reader import Reading, parse
from .text import parameters, render

__all__ = ["Place", "Reading", "parameters", "parse", "parse_declared", "render"]
