"""What ``/api/ps`` shows of a loaded model."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from inhouse.core.kernels import Report
from inhouse.engines.fake import FakeRecipe
from inhouse.fleet import Loaded
from inhouse.server.keys import Keys
from inhouse.server.manage.state import _shown

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def staying(seconds: float) -> Loaded:
    return Loaded(
        card=FakeRecipe({}).cards()[0],
        context_length=1024,
        slots=1,
        busy=0,
        waiting=0,
        memory=1,
        expires_in=seconds,
        state="ready",
        engine="fake",
        build="fake",
        pid=None,
    )


@pytest.mark.parametrize("seconds", [math.inf, 3.6e11, 1e18, 3.6e21])
def test_what_stays_longer_than_dates_go_is_shown_as_staying_for_ever(seconds: float) -> None:
    assert _shown(staying(seconds), NOW, Keys()).expires_at is None


def test_what_goes_is_shown_with_its_time() -> None:
    assert _shown(staying(300.0), NOW, Keys()).expires_at == NOW + timedelta(minutes=5)


def test_what_a_worker_told_of_our_kernels_is_shown_and_none_where_it_runs_without() -> None:
    told = Report("0.1.0", True, isa="avx2", tensors={"q4_K": 168})
    assert _shown(staying(1.0), NOW, Keys(), told).extra["kernels"] == told.facts()
    assert _shown(staying(1.0), NOW, Keys()).extra["kernels"] is None
