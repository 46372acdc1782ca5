"""Why a schema has no form that an engine enforces."""

from __future__ import annotations


class Inexpressible(Exception):
    """``keyword`` is what stands in the way, ``why`` completes the sentence 'the schema's x cannot ...'."""

    def __init__(self, keyword: str, why: str = "") -> None:
        super().__init__(f"{keyword}: {why}" if why else keyword)
        self.keyword = keyword
        self.why = why


class TooComplex(Inexpressible):
    """Rewriting would take too long, or the result would be too large."""


class Impossible(Exception):
    """No value is valid under the schema."""
