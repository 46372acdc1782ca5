"""The server that tools/clients.py started, as environment variables tell it."""

from __future__ import annotations

import os

import pytest


def _told(name: str) -> str:
    value = os.environ.get(f"INHOUSE_CLIENTS_{name}")
    if not value:
        pytest.exit("start these tests with tools/clients.py", returncode=2)
    return value


URL, KEY = _told("URL"), _told("KEY")
FAKE_URL = _told("FAKE_URL")  # with the fake engine, and no key
SMALL, CODER, EMBEDDER = _told("SMALL"), _told("CODER"), _told("EMBEDDER")


@pytest.fixture(scope="session")
def url() -> str:
    """The server's address, without a path."""
    return URL


@pytest.fixture(scope="session")
def key() -> str:
    return KEY


@pytest.fixture(scope="session")
def small() -> str:
    """A chat model of 135M parameters; quick, and none too clever."""
    return SMALL


@pytest.fixture(scope="session")
def coder() -> str:
    """A chat model that calls tools."""
    return CODER


@pytest.fixture(scope="session")
def embedder() -> str:
    return EMBEDDER
