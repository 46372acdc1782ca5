"""Shared fixtures. Anything that needs a server or a model lives beside its tests."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What a small model says can hang on what its cache held: sums differ in the last bit, and a near
    tie falls the other way. Such a test is tried once more, and is shown as a rerun; twice is a failure."""
    for item in items:
        if item.get_closest_marker("model") is not None:
            item.add_marker(pytest.mark.flaky(reruns=1))
