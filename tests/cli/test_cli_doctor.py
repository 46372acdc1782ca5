"""``inhouse doctor --measure`` asks the server to measure, and only then."""

from __future__ import annotations

from cli.scripted import Api, Invoke


def test_measuring_is_another_question(api: Api, invoke: Invoke) -> None:
    api.routes |= {
        "/api/machine": {"findings": [{"level": "ok", "what": "asked"}]},
        "/api/machine/measure": {"findings": [{"level": "ok", "what": "measured"}]},
    }
    assert invoke("doctor").out.startswith("ok        asked")
    assert invoke("doctor", "--measure").out.startswith("ok        measured")
