"""Log-probabilities beside the text they belong to.

llama-server says each token's log-probability when it is sampled, but its text only once that can
neither become a stop string nor is part of a character that is not whole yet. Protocol: the fields
``completion_probabilities`` of tools/server/server-task.cpp.
"""

from __future__ import annotations

import dataclasses

from ...core.events import TokenLogprob
from .wire import Probability, logprobs


class Aligner:
    """Holds what was said of tokens until their text comes; what a stop string cut off is dropped.

    The bytes of what comes out are those of the text. Of a character torn over several tokens only
    the last one's log-probability is known: it stands for all of them.
    """

    def __init__(self, top: int | None) -> None:
        self._top = top
        self._held: list[tuple[TokenLogprob, bytes]] = []

    def feed(self, text: str, found: list[Probability] | None) -> tuple[TokenLogprob, ...]:
        """The log-probabilities of ``text``."""
        if self._top is None:
            return ()
        if found:
            said = logprobs(found, self._top)
            self._held += [(one, _own(raw)) for one, raw in zip(said, found, strict=True)]
        if not text or not self._held:
            return ()
        held, self._held = self._held, []
        rest = text.encode("utf-8", "surrogatepass")
        out: list[TokenLogprob] = []
        for place, (entry, own) in enumerate(held):
            last = place == len(held) - 1
            if not rest:
                self._held = held[place:]  # their text is still held back
                break
            if own and rest.startswith(own) and not last:
                part = own
            elif last or (own and own.startswith(rest)):
                part = rest
            else:
                continue
            rest = rest[len(part) :]
            out.append(dataclasses.replace(entry, token=part.decode("utf-8", "replace"), bytes=part))
        return tuple(out)


def _own(raw: Probability) -> bytes:
    """The token's own bytes, where they can be known: its text may be held back or joined."""
    for other in raw.top_logprobs or ():
        if other.id == raw.id and raw.id >= 0:
            return bytes(other.bytes or ())
    return bytes(raw.bytes or ())
