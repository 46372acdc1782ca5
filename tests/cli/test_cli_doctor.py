"""``inhouse doctor --measure`` asks the server to measure, and only then."""

from __future__ import annotations

import pytest

from cli.scripted import Api, Invoke


def test_measuring_is_another_question(api: Api, invoke: Invoke) -> None:
    api.routes |= {
        "/api/machine": {"findings": [{"level": "ok", "what": "asked"}]},
        "/api/machine/measure": {"findings": [{"level": "ok", "what": "measured"}]},
    }
    assert invoke("doctor").out.startswith("ok        asked")
    assert invoke("doctor", "--measure").out.startswith("ok        measured")


def test_a_variable_that_changes_nothing_is_told(
    api: Api, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.routes |= {"/api/machine": {"findings": []}}
    monkeypatch.setenv("INHOUSE_SLOT", "2")
    monkeypatch.setenv("INHOUSE_XYZZY", "2")
    monkeypatch.setenv("INHOUSE_KERNELS_ISA", "avx2")
    told = invoke("doctor").out
    assert "INHOUSE_SLOT is no setting" in told
    assert "Did you mean INHOUSE_SLOTS?" in told
    assert "INHOUSE_XYZZY is no setting" in told
    assert "INHOUSE_KERNELS_ISA" not in told
    monkeypatch.delenv("INHOUSE_SLOT")
    monkeypatch.delenv("INHOUSE_XYZZY")
    assert "no setting" not in invoke("doctor").out
