"""What the OpenAPI document says of single operations."""

from __future__ import annotations

from typing import Any

import pytest

from inhouse.server.documents import document
from inhouse.server.operations import shown_path
from inhouse.server.routes import ROUTES

ROWS: Any = ROUTES
PATHS: dict[str, Any] = document(ROWS)["paths"]


def asked(path: str, method: str, where: str) -> set[str]:
    return {one["name"] for one in PATHS[path][method].get("parameters", ()) if one["in"] == where}


def test_operations_have_names_of_their_own() -> None:
    names = [one["operationId"] for operations in PATHS.values() for one in operations.values()]
    assert len(names) == len(set(names)) == sum(len(row.methods) for row in ROUTES)


def test_places_of_a_path_are_parameters() -> None:
    assert asked("/v1/conversations/{id}/items/{item}", "delete", "path") == {"id", "item"}
    assert asked("/v1/models/{model}", "get", "path") == {"model"}


def test_lists_tell_of_their_query_and_writing_has_none() -> None:
    assert asked("/v1/files", "get", "query") == {"limit", "order", "after", "before", "purpose"}
    assert asked("/v1/files", "post", "query") == set()
    assert asked("/api/import", "post", "query") == {"seal"}


@pytest.mark.parametrize("path", sorted({shown_path(row.path) for row in ROUTES}))
def test_every_route_tells_how_it_refuses(path: str) -> None:
    shape = "OpenAIError" if path.startswith(("/v1", "/v2")) else "Error"
    if path.startswith("/v1/messages"):
        shape = "AnthropicError"
    for method, told in PATHS[path].items():
        answers = told["responses"]
        assert "default" not in answers
        if path == "/health":
            assert set(answers) == {"200", "503"}
        elif method == "head":
            assert not any("content" in answer for answer in answers.values())
        else:
            said = answers["415"]["content"]["application/json"]["schema"]["$ref"]
            open_task = told["tags"] == ["Tasks"]
            assert said.endswith("/OpenAIError" if open_task else f"/{shape}")


def test_each_api_is_busy_in_its_own_way() -> None:
    assert "429" in PATHS["/v1/chat/completions"]["post"]["responses"]
    assert "529" in PATHS["/v1/messages"]["post"]["responses"]
    assert {"429", "529"}.isdisjoint(PATHS["/api/chat"]["post"]["responses"])


def test_bodies_and_answers_that_are_no_json_are_told_of() -> None:
    form = PATHS["/v1/files"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["file", "purpose"]
    for path, kind in {
        "/v1/files/{id}/content": "application/octet-stream", "/docs": "text/html", "/metrics": "text/plain",
    }.items():  # fmt: skip
        assert set(PATHS[path]["get"]["responses"]["200"]["content"]) == {kind}
    chat = PATHS["/v1/chat/completions"]["post"]["responses"]["200"]["content"]
    assert set(chat) == {"application/json", "text/event-stream"}
    assert "307" in PATHS["/"]["get"]["responses"]
    assert "201" in PATHS["/api/blobs/{digest}"]["post"]["responses"]
    assert "content" not in PATHS["/api/copy"]["post"]["responses"]["200"]
