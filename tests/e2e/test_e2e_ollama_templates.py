"""A template that comes with /api/generate, through a server with the fake engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.running import Answer, Server, fake, serving

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("ollama-templates"), INHOUSE_ENGINE="fake") as running:
        yield running


def generate(server: Server, prompt: str, **more: Any) -> Answer:
    return server.ask("POST", "/api/generate", {"model": "fake", "prompt": prompt, **more})


@pytest.mark.parametrize(
    "template", ["{{ .Prompt }}[{{ .System }}]", "{{ messages[1].content }}[{{ messages[0].content }}]"]
)
def test_a_template_of_the_request_renders_the_prompt(server: Server, template: str) -> None:
    told = {"template": template, "system": "Be brief."}
    prompt = fake(echo=True)
    shown = generate(server, prompt, _debug_render_only=True, **told).json["_debug_info"]
    assert shown == {"rendered_template": f"{prompt}[Be brief.]"}
    answer = generate(server, prompt, stream=False, **told).json
    assert answer["response"] == f"{prompt}[Be brief.]"
    assert answer["context"]
    streamed = generate(server, prompt, **told).lines
    assert "".join(line["response"] for line in streamed) == answer["response"]
    assert streamed[-1]["prompt_eval_count"] == answer["prompt_eval_count"]
