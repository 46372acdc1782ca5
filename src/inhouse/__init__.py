"""Inhouse: run AI models where the data already is."""

__version__ = "0.1.0"
