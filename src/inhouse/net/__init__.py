"""The network: one guarded HTTP client, and transfers that can be killed at any time.

``client`` asks, downloads and uploads; ``url``, ``gate``, ``line`` and ``wire`` are one request from its
text to its bytes; ``transfer``, ``plan``, ``journal`` and ``follow`` are one file in parallel ranges.
"""

from .client import Client, Reply

__all__ = ["Client", "Reply"]
