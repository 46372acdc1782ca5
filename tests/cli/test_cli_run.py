"""``inhouse run``: prompts, pipes, options, pulls, embeddings, endings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.scripted import Api, Invoke, Refusal, says


def sent(api: Api) -> Any:
    """The one chat request."""
    (body,) = api.bodies("/api/chat")
    return body


def test_an_answer_is_data_and_nothing_else_is_printed(api: Api, invoke: Invoke) -> None:
    result = invoke("run", "tiny", "Why", "so?")
    assert (result.code, result.out, result.err) == (0, "Hello.\n", "")
    assert sent(api) == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "Why so?"}],
        "stream": True,
    }


def test_piped_text_comes_before_the_prompt(api: Api, invoke: Invoke) -> None:
    assert invoke("run", "tiny", "Sum", "up.", stdin="\ufeffZwölf\n\n".encode()).code == 0
    assert sent(api)["messages"] == [{"role": "user", "content": "Zwölf\n\nSum up."}]


def test_piped_text_alone_is_the_prompt(api: Api, invoke: Invoke) -> None:
    assert invoke("run", "tiny", stdin=b"Hi\n").code == 0
    assert sent(api)["messages"] == [{"role": "user", "content": "Hi"}]


def test_an_empty_pipe_is_no_prompt(api: Api, invoke: Invoke) -> None:
    result = invoke("run", "tiny", stdin=b"")
    assert result.code == 2
    assert result.err.startswith("Error: there is no prompt: nothing was piped in\nHint: ")
    assert not api.asked or not api.bodies("/api/chat")


def test_piped_bytes_that_are_no_text_are_refused(api: Api, invoke: Invoke) -> None:
    result = invoke("run", "tiny", stdin=b"\xff\xfe\x00")
    assert (result.code, result.err.splitlines()[0]) == (2, "Error: what was piped in is not UTF-8 text")


def test_no_conversation_with_a_file_as_output(api: Api, invoke: Invoke) -> None:
    result = invoke("run", "tiny")
    assert (result.code, result.err.splitlines()[0]) == (2, "Error: there is no prompt")


def test_an_empty_prompt_only_loads(api: Api, invoke: Invoke) -> None:
    api.routes["/api/chat"] = [{"done": True, "done_reason": "load", "message": {"content": ""}}]
    result = invoke("run", "tiny", "--keepalive", "1h", "")
    assert (result.code, result.out) == (0, "")
    assert sent(api) == {"model": "tiny", "messages": [], "stream": True, "keep_alive": "1h"}


def test_options_become_fields_of_the_request(api: Api, invoke: Invoke) -> None:
    flags = [
        "--option",
        "temperature=0.5",
        "--option",
        "stop=A",
        "--option",
        "stop=B",
        "--option",
        "mirostat=2",
        "--option",
        "x=y",
    ]
    more = [
        "--seed",
        "7",
        "--context",
        "512",
        "--keepalive",
        "300",
        "--think=high",
        "--format",
        "json",
        "--system",
        "Brief.",
    ]
    assert invoke("run", *flags, *more, "tiny", "Hi").code == 0
    body = sent(api)
    assert body["options"] == {
        "temperature": 0.5, "stop": ["A", "B"], "mirostat": 2, "x": "y", "seed": 7, "num_ctx": 512,
    }  # fmt: skip
    assert (body["keep_alive"], body["think"], body["format"]) == (300.0, "high", "json")
    assert body["messages"][0] == {"role": "system", "content": "Brief."}


@pytest.mark.parametrize(
    ("flags", "cause"),
    [
        (["--option", "temperature"], "'temperature' is not NAME=VALUE"),
        (["--option", "temperature=warm"], "option temperature must be a number"),
        (["--option", "temperature=nan"], "option temperature must be a number"),
        (["--option", "seed=1.5"], "option seed must be a whole number"),
        (["--option", "use_mmap=perhaps"], "option use_mmap must be true or false"),
        (["--keepalive", "soon"], "'soon' is not a duration like 300, 5m or 1h30m"),
        (["--think=hard"], "'hard' is not a way to think"),
        (["--format", "{nonsense"], "the schema is not JSON"),
        (["--format", "no/such/file"], "the schema file cannot be read: No such file or directory"),
        (["--context", "0"], "Invalid value for '--context': 0 is not in the range x>=1."),
        (["--xyzzy"], "No such option '--xyzzy'."),
    ],
)
def test_bad_values_are_refused_before_any_request(
    api: Api, invoke: Invoke, flags: list[str], cause: str
) -> None:
    result = invoke("run", "tiny", "Hi", *flags)
    lines = result.err.splitlines()
    assert (result.code, lines[0]) == (2, f"Error: {cause}")
    assert lines[-1].startswith("Hint: ")
    assert not api.asked


def test_bare_think_takes_nothing_from_what_follows(api: Api, invoke: Invoke) -> None:
    assert invoke("run", "--think", "tiny", "--", "--think").code == 0
    assert sent(api)["think"] is True
    assert sent(api)["messages"] == [{"role": "user", "content": "--think"}]


def test_a_schema_comes_inline_or_from_a_file(api: Api, invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text('{"type": "object"}')
    for text in ('{"type": "object"}', str(file)):
        assert invoke("run", "tiny", "Hi", "--format", text).code == 0
    assert [b["format"] for b in api.bodies("/api/chat")] == [{"type": "object"}] * 2


def test_a_schema_that_is_no_object_is_refused(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[1]")
    result = invoke("run", "tiny", "Hi", "--format", str(tmp_path / "list.json"))
    assert (result.code, result.err.splitlines()[0]) == (2, "Error: a schema is a JSON object")


def test_verbose_prints_the_block_of_statistics_on_stderr(api: Api, invoke: Invoke) -> None:
    result = invoke("run", "tiny", "Hi", "--verbose")
    assert result.out == "Hello.\n"
    *block, last = [line for line in result.err.splitlines() if line]
    assert block == [
        "total duration:       2.00s",
        "load duration:        500ms",
        "prompt eval count:    12 token(s)",
        "prompt eval duration: 60ms",
        "prompt eval rate:     200.00 tokens/s",
        "eval count:           30 token(s)",
        "eval duration:        500ms",
        "eval rate:            60.00 tokens/s",
    ]
    assert last.startswith("time to first token:  ")


def test_stats_are_one_line(api: Api, invoke: Invoke) -> None:
    line = invoke("run", "tiny", "Hi", "--stats").err
    assert line.startswith("12 prompt tokens, 30 tokens, TTFT ")
    assert line.endswith(", 60.0 tokens/s, model load 500ms\n")


def test_statistics_without_counts_do_not_divide_by_zero(api: Api, invoke: Invoke) -> None:
    api.routes["/api/chat"] = [{"done": True, "done_reason": "stop"}]
    result = invoke("run", "tiny", "Hi", "--stats", "--verbose")
    assert result.code == 0
    assert "0 prompt tokens, 0 tokens\n" in result.err
    assert "rate" not in result.err


def test_warnings_and_a_cut_answer_are_told(api: Api, invoke: Invoke) -> None:
    api.routes["/api/chat"] = says("Hi", done_reason="length", warnings=["the prompt was shortened"])
    result = invoke("run", "tiny", "Hi")
    assert result.out == "Hi\n"
    assert result.err == (
        "Warning: the prompt was shortened\nWarning: the answer was cut at the length limit.\n"
    )


def test_a_limit_that_was_asked_for_is_no_warning(api: Api, invoke: Invoke) -> None:
    api.routes["/api/chat"] = says("Hi", done_reason="length")
    assert invoke("run", "tiny", "Hi", "--option", "num_predict=1").err == ""


def test_thinking_is_hidden_from_files_unless_asked_for(api: Api, invoke: Invoke) -> None:
    api.routes["/api/chat"] = says("Yes.", thinking="Hmm.")
    plain = invoke("run", "tiny", "Hi")
    assert (plain.out, plain.err) == ("Yes.\n", "")
    asked = invoke("run", "tiny", "Hi", "--think")
    assert (asked.out, asked.err) == ("Yes.\n", "Thinking...\nHmm.\n...done thinking.\n\n")
    hidden = invoke("run", "tiny", "Hi", "--think", "--hidethinking")
    assert (hidden.out, hidden.err) == ("Yes.\n", "")


def test_a_missing_model_is_pulled_first_and_in_silence(api: Api, invoke: Invoke) -> None:
    here: list[str] = []

    def show(asked: Any) -> Any:
        return {"capabilities": ["completion"]} if here else Refusal(404, {"error": "model 'tiny' not found"})

    def pull(asked: Any) -> Any:
        here.append(asked.body["model"])
        return [
            {"status": "pulling manifest"},
            {"status": "pulling 0123", "digest": "sha256:0123", "total": 10, "completed": 10},
            {"status": "success", "result": {"model": "tiny:latest"}},
        ]

    api.routes |= {"/api/show": show, "/api/pull": pull}
    result = invoke("run", "tiny", "Hi")
    assert (result.code, result.out, result.err) == (0, "Hello.\n", "")
    assert here == ["tiny"]
    assert sent(api)["model"] == "tiny:latest"


def test_an_embedding_model_gives_one_json_array(api: Api, invoke: Invoke) -> None:
    api.routes["/api/show"] = {"capabilities": ["embedding"]}
    api.routes["/api/embed"] = {"embeddings": [[0.25, -1e-9, 1.0]]}
    result = invoke("run", "minilm", "some", "text", "--keepalive", "0")
    assert json.loads(result.out) == [0.25, -1e-9, 1.0]
    assert api.bodies("/api/embed") == [
        {"model": "minilm", "input": "some text", "options": {}, "keep_alive": 0.0}
    ]


def test_an_embedding_model_without_text_says_so(api: Api, invoke: Invoke) -> None:
    api.routes["/api/show"] = {"capabilities": ["embedding"]}
    result = invoke("run", "minilm", "")
    assert (result.code, result.err.splitlines()[0]) == (
        2,
        "Error: 'minilm' makes embeddings and cannot converse",
    )


def test_an_error_in_the_stream_ends_the_line_and_fails(api: Api, invoke: Invoke) -> None:
    api.routes["/api/chat"] = [{"message": {"content": "Half"}}, {"error": "the worker died"}]
    result = invoke("run", "tiny", "Hi")
    assert (result.code, result.out, result.err) == (1, "Half\n", "Error: the worker died\n")


@pytest.mark.parametrize("tail", [[], [None]], ids=["ended", "cut"])
def test_an_answer_without_an_end_is_an_error(api: Api, invoke: Invoke, tail: list[Any]) -> None:
    api.routes["/api/chat"] = [{"message": {"content": "Half"}}, *tail]
    result = invoke("run", "tiny", "Hi")
    assert result.code in (1, 4)
    assert result.out == "Half\n"
    assert result.err.startswith("Error: the ")


def test_blank_lines_keep_a_stream_alive(api: Api, invoke: Invoke) -> None:
    api.routes["/api/chat"] = ["\n", "\n", *says("Hi")]
    assert invoke("run", "tiny", "Hi").out == "Hi\n"


@pytest.mark.parametrize("line", ["nonsense\n", "[1]\n"])
def test_a_line_that_is_no_object_is_an_error(api: Api, invoke: Invoke, line: str) -> None:
    api.routes["/api/chat"] = [line]
    result = invoke("run", "tiny", "Hi")
    assert (result.code, result.err.splitlines()[0]) == (1, "Error: the server's answer is not understood")


def test_a_file_gets_the_characters_as_they_are(api: Api, invoke: Invoke) -> None:
    api.routes["/api/chat"] = says("a\x1b[31mb")
    assert invoke("run", "tiny", "Hi").out == "a\x1b[31mb\n"
