"""schemathesis: what the OpenAPI document says is what the server does."""

from __future__ import annotations

import hypothesis
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from conftest import FAKE_URL

REACHING_OUT = "^/api/(pull|push|outdated|converter|export|import|verify|create|prune)$"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

CONFIG = SchemathesisConfig.from_dict({"generation": {"deterministic": True, "database": "none"}})

document = schemathesis.openapi.from_url(f"{FAKE_URL}/openapi.json", config=CONFIG)
schema = document.exclude(path_regex=REACHING_OUT)


def test_the_document_is_openapi_3_1() -> None:
    assert document.specification.version.startswith("3.1")
    document.validate()


@schema.parametrize()
@hypothesis.settings(max_examples=15, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
def test_every_answer_is_one_that_the_document_tells_of(case: schemathesis.Case) -> None:
    if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
        ranks = case.operation.path.rsplit("/", 1)[-1] in ("rerank", "score", "embed", "embeddings")
        case.body["model"] = "fake-embed" if ranks else "fake"  # else most ends at a name that nobody has
    if case.operation.path == "/api/events" and case.query:
        case.query.pop("follow", None)  # that answer goes on until the server stops
    case.call_and_validate(checks=CHECKS)
