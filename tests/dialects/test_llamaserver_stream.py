"""Streams of llama-server, recorded from a real one, become events however the bytes are cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.core.errors import BadRequest, ContextExceeded, EngineError, Unsupported
from inhouse.core.events import (
    ChoiceEnd,
    Event,
    Progress,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
)
from inhouse.core.usage import Timings, Usage
from inhouse.dialects.llamaserver import (
    ChatDecoder,
    CompletionDecoder,
    Reading,
    decode_embed,
    encode_embed,
    from_answer,
    normalised,
)
from inhouse.dialects.llamaserver.content import Thoughts
from inhouse.dialects.llamaserver.tools import ToolPlan

TAIL = '"created":1795369675,"id":"chatcmpl-i","model":"m","system_fingerprint":"b0-unknown","object":"chat.completion.chunk"'
ROLE = '{"role":"assistant","content":null}'


def line(
    delta: str, index: int = 0, *, finish: str | None = None, more: str = "", logprobs: str = ""
) -> bytes:
    reason = f'"{finish}"' if finish else "null"
    choice = f'{{"finish_reason":{reason},"index":{index},"delta":{delta}{logprobs}}}'
    return f'data: {{"choices":[{choice}],{TAIL}{more}}}\n\n'.encode()


def text(content: str, index: int = 0) -> bytes:
    return line(json.dumps({"content": content}, ensure_ascii=False), index)


def progress(total: int, cache: int, processed: int, index: int = 0) -> bytes:
    return line(
        ROLE,
        index,
        more=f',"prompt_progress":{{"total":{total},"cache":{cache},"processed":{processed},"time_ms":220}}',
    )


def usage(completion: int = 4, prompt: int = 34, cached: int = 0) -> bytes:
    counts = (
        f'"usage":{{"completion_tokens":{completion},"prompt_tokens":{prompt},"total_tokens":38,'
        f'"prompt_tokens_details":{{"cached_tokens":{cached}}}}}'
    )
    timings = (
        f'"timings":{{"cache_n":{cached},"prompt_n":{prompt - cached},"prompt_ms":221.5,"prompt_per_token_ms":6.5,'
        f'"prompt_per_second":153.5,"predicted_n":{completion},"predicted_ms":79.0,"predicted_per_second":37.9}}'
    )
    return f'data: {{"choices":[],{TAIL},{counts},{timings}}}\n\n'.encode()


DONE = b"data: [DONE]\n\n"
PING = b":\n\n"
STREAM = b"".join(
    [
        progress(34, 0, 0),
        progress(34, 0, 34),
        PING,
        line(ROLE),
        text("Grüße "),
        text("🙂 日本"),
        line("{}", finish="length"),
        usage(),
        DONE,
    ]
)
EVENTS: list[Event] = [
    Progress(0, 34, 0),
    Progress(34, 34, 0),
    TextDelta("Grüße "),
    TextDelta("🙂 日本"),
    ChoiceEnd("length"),
]


def read(stream: bytes, **reading: Any) -> tuple[list[Event], ChatDecoder]:
    decoder = ChatDecoder(Reading(**reading))
    return decoder.feed(stream), decoder


def test_a_recorded_stream_becomes_events_and_totals() -> None:
    events, decoder = read(STREAM)
    assert events == EVENTS
    assert decoder.done
    assert decoder.tally.usage() == Usage(34, 4, 0)
    assert decoder.tally.timings() == Timings(prefill=0.2215, decode=0.079)


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_bytes_may_be_cut_anywhere(cuts: list[int]) -> None:
    decoder = ChatDecoder(Reading())
    places = sorted(cuts)
    events: list[Event] = []
    for a, b in zip([0, *places], [*places, len(STREAM)], strict=True):
        events += decoder.feed(STREAM[a:b])
    assert events == EVENTS
    assert decoder.done


def test_a_stream_that_stops_early_is_not_done() -> None:
    assert not read(STREAM[: -len(DONE)])[1].done
    assert not read(text("x") + DONE)[1].done, "a choice has not ended"


def test_choices_interleave_and_their_tokens_add_up() -> None:
    stream = b"".join(
        [
            progress(34, 0, 0),
            progress(34, 0, 34, 1),
            text("b", 1),
            text("a", 0),
            line("{}", 1, finish="stop"),
            usage(3, 34, 10),
            line("{}", 0, finish="length"),
            usage(5, 34, 0),
            DONE,
        ]
    )
    events, decoder = read(stream, n=2, offset=4)
    assert events == [
        Progress(0, 34, 0),
        TextDelta("b", 5),
        TextDelta("a", 4),
        ChoiceEnd("stop", 5),
        ChoiceEnd("length", 4),
    ]
    assert decoder.done
    assert decoder.tally.usage() == Usage(34, 8, 0)


def test_the_stop_string_that_was_hit_is_told() -> None:
    more = (
        ',"__verbose":{"index":0,"content":"","stop_type":"word","stopping_word":"three","tokens_cached":5}'
    )
    assert read(line("{}", finish="stop", more=more))[0] == [ChoiceEnd("stop", 0, "three")]


def test_thoughts_and_calls_that_the_engine_parses_pass_through() -> None:
    stream = b"".join(
        [
            line('{"reasoning_content":"hm"}'),
            line(
                '{"tool_calls":[{"index":0,"id":"abc","type":"function","function":{"name":"add","arguments":""}}]}'
            ),
            line('{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}'),
            line("{}", finish="tool_calls"),
            usage(),
        ]
    )
    events, decoder = read(stream, tools=ToolPlan("auto", names=("add",)))
    assert events == [
        ReasoningDelta("hm"),
        ToolCallDelta(0, "", "abc", "add"),
        ToolCallDelta(0, "{}"),
        ChoiceEnd("tool_calls"),
    ]
    assert decoder.tally.usage().reasoning_tokens == 1


def test_a_call_makes_the_reason_tool_calls_even_if_the_engine_says_stop() -> None:
    call = line('{"tool_calls":[{"index":0,"id":"abc","function":{"name":"add","arguments":"{}"}}]}')
    plan = ToolPlan("auto", names=("add",))
    assert read(call + line("{}", finish="stop"), tools=plan)[0][-1] == ChoiceEnd("tool_calls")


def test_a_call_of_a_function_that_nobody_declared_is_none() -> None:
    def call(number: int, name: str) -> bytes:
        function = f'"id":"c{number}","function":{{"name":"{name}","arguments":"{{}}"}}'
        return line(f'{{"tool_calls":[{{"index":{number},{function}}}]}}')

    plan = ToolPlan("auto", names=("add",))
    events, _ = read(call(0, "rm") + call(1, "add") + line("{}", finish="tool_calls"), tools=plan)
    assert events == [ToolCallDelta(0, "{}", "c1", "add"), ChoiceEnd("tool_calls")]
    events, _ = read(call(0, "rm") + line("{}", finish="tool_calls"), tools=plan)
    assert events == [ChoiceEnd("stop")]


def test_one_call_at_most_where_only_one_is_allowed() -> None:
    calls = b"".join(
        line(f'{{"tool_calls":[{{"index":{i},"id":"c{i}","function":{{"name":"add","arguments":"{{}}"}}}}]}}')
        for i in range(2)
    )
    plan = ToolPlan("auto", names=("add",), single=True)
    events, _ = read(calls + line("{}", finish="tool_calls"), tools=plan)
    assert [event for event in events if isinstance(event, ToolCallDelta)] == [
        ToolCallDelta(0, "{}", "c0", "add")
    ]


LOGPROBS = (
    ',"logprobs":{"content":[{"id":29,"token":"-","bytes":[45],"logprob":-2.25,"top_logprobs":'
    '[{"id":29,"token":"-","bytes":[45],"logprob":-2.25},{"id":7,"token":" p","bytes":[32,112],"logprob":null}]}]}'
)


@pytest.mark.parametrize(
    ("asked", "top"),
    [
        (0, ()),
        (1, (TopLogprob("-", -2.25, b"-"),)),
        (5, (TopLogprob("-", -2.25, b"-"), TopLogprob(" p", -9999.0, b" p"))),
    ],
)
def test_log_probabilities_carry_as_many_alternatives_as_asked(
    asked: int, top: tuple[TopLogprob, ...]
) -> None:
    events, _ = read(line('{"content":"-"}', logprobs=LOGPROBS), logprobs=asked)
    assert events == [TextDelta("-", 0, (TokenLogprob("-", -2.25, b"-", top),))]


def test_a_prefill_that_the_engine_echoes_is_taken_off() -> None:
    ends = line("{}", finish="stop")
    assert read(text("1, 2, 3") + text(", 4") + ends, prefill="1, 2, ")[0][:2] == [
        TextDelta("3"),
        TextDelta(", 4"),
    ]
    assert read(text("1, ") + text("2, ") + text("3") + ends, prefill="1, 2, ")[0][0] == TextDelta("3")
    assert read(text("1, x") + ends, prefill="1, 2, ")[0][0] == TextDelta("1, x"), "no echo: nothing is lost"
    assert read(text("1,") + ends, prefill="1, 2, ")[0][0] == TextDelta("1,")


def test_a_character_that_is_not_complete_never_shows() -> None:
    assert read(text("a\ufffd") + line("{}", finish="length"))[0] == [TextDelta("a"), ChoiceEnd("length")]
    assert read(text("\ufffd") + text("b") + line("{}", finish="stop"))[0][0] == TextDelta("\ufffdb")
    assert read(text("a\ufffd") + line("{}", finish="stop"))[0][1] == TextDelta("\ufffd"), "the model's own"


def test_a_muted_answer_ends_without_text_or_tokens() -> None:
    events, decoder = read(text("x") + line("{}", finish="length") + usage(1), mute=True)
    assert events == [ChoiceEnd("length")]
    assert decoder.tally.usage(mute=True) == Usage(34, 0, 0)


AUTO = ToolPlan("auto", names=("add",))


def test_a_call_written_as_text_is_found() -> None:
    events, _ = read(
        text('{"name": "add", "arg') + text('uments": {}}') + line("{}", finish="stop"), tools=AUTO
    )
    assert isinstance(events[0], ToolCallDelta)
    assert (events[0].name, events[0].arguments, events[1:]) == ("add", "{}", [ChoiceEnd("tool_calls")])


def test_text_held_back_comes_out_at_the_end() -> None:
    events, _ = read(text('{"name": "ad') + line("{}", finish="length"), tools=AUTO)
    assert events == [TextDelta('{"name": "ad'), ChoiceEnd("length")]


def test_a_forced_call_streams_and_keeps_the_reason_length() -> None:
    plan = ToolPlan("forced", names=("add",))
    stream = text('{"name": "add", "arguments": {"a"') + line("{}", finish="length")
    events, _ = read(stream, tools=plan)
    assert [e.arguments for e in events[:-1] if isinstance(e, ToolCallDelta)] == ["", '{"a"']
    assert events[-1] == ChoiceEnd("length")


@pytest.mark.parametrize(
    "stream",
    [
        b'data: {"error":{"code":500,"message":"secret prompt","type":"server_error"}}\n\n',
        b'error: {"code":500,"message":"secret prompt","type":"server_error"}\n\n',
        b'event: error\ndata: {"error":{"message":"secret prompt"}}\n\n',
        b"data: nonsense\n\n",
        b'data: {"choices": 3, "content": 3}\n\n',
    ],
)
def test_an_error_amid_the_stream_is_raised_and_quotes_nothing(stream: bytes) -> None:
    for decoder in (ChatDecoder(Reading()), CompletionDecoder(Reading())):
        with pytest.raises(EngineError) as caught:
            decoder.feed(stream)
        assert "secret" not in caught.value.message + caught.value.hint


def test_a_choice_that_nobody_asked_for_is_an_error() -> None:
    with pytest.raises(EngineError):
        read(line("{}", 7, finish="stop"))


def completion(content: str, *, index: int = 0, tokens: str = "[]", more: str = "") -> bytes:
    shown = json.dumps(content)
    return f'data: {{"index":{index},"content":{shown},"tokens":{tokens},"stop":false,"id_slot":-1,"tokens_predicted":1,"tokens_evaluated":3{more}}}\n\n'.encode()


def final(stop_type: str = "limit", word: str = "", index: int = 0) -> bytes:
    return (
        f'data: {{"index":{index},"content":"","tokens":[],"id_slot":0,"stop":true,"model":"m","tokens_predicted":2,'
        f'"tokens_evaluated":3,"prompt":"One two three","truncated":false,"stop_type":"{stop_type}",'
        f'"stopping_word":"{word}","tokens_cached":10,"timings":{{"cache_n":2,"prompt_n":1,"prompt_ms":10.0,'
        f'"predicted_n":2,"predicted_ms":70.0}}}}\n\n'
    ).encode()


def test_a_completion_gives_text_ids_and_totals() -> None:
    decoder = CompletionDecoder(Reading(param="prompt"))
    events = decoder.feed(
        completion(
            "", tokens="[0]", more=',"prompt_progress":{"total":3,"cache":2,"processed":3,"time_ms":0}'
        )
        + completion("-", tokens="[29]")
        + completion("digit", tokens="[23141]")
        + final("word", "five")
    )
    assert events == [Progress(3, 3, 2), TextDelta("-"), TextDelta("digit"), ChoiceEnd("stop", 0, "five")]
    assert decoder.tokens == [29, 23141]
    assert decoder.done
    assert decoder.tally.usage() == Usage(3, 2, 2)


def test_every_choice_of_a_completion_must_end() -> None:
    decoder = CompletionDecoder(Reading(n=2))
    decoder.feed(final("eos", index=1))
    assert not decoder.done
    assert decoder.feed(completion("x", index=1) + final(index=0) + DONE)[-1] == ChoiceEnd("length", 0)
    assert decoder.done


def probability(token: int, text: str, logprob: float, *, held: bool = False) -> str:
    own = json.dumps({"id": token, "token": text, "bytes": list(text.encode()), "logprob": logprob})
    shown = json.dumps({"token": "" if held else text, "bytes": [] if held else list(text.encode())})
    return f',"completion_probabilities":[{{"id":{token},"logprob":{logprob},{shown[1:-1]},"top_logprobs":[{own}]}}]'


def said(stream: bytes) -> tuple[str, list[tuple[str, float]]]:
    """The text, and the token and log-probability of all that has one."""
    events = CompletionDecoder(Reading(logprobs=1)).feed(stream)
    deltas = [event for event in events if isinstance(event, TextDelta)]
    found = [(one.token, one.logprob) for delta in deltas for one in delta.logprobs]
    assert all(one.bytes == one.token.encode() for delta in deltas for one in delta.logprobs)
    return "".join(delta.text for delta in deltas), found


def test_a_token_held_back_by_the_engine_keeps_its_log_probability() -> None:
    stream = completion("", more=probability(1, "f", -0.5, held=True))
    stream += completion("fo", more=probability(2, "o", -0.25)) + final()
    assert said(stream) == ("fo", [("f", -0.5), ("o", -0.25)])


def test_tokens_that_a_stop_string_cut_off_have_no_log_probability() -> None:
    stream = completion("a", more=probability(1, "a", -1))
    stream += completion("", more=probability(2, "S", -2, held=True))
    stream += completion("", more=probability(3, "TOP", -3, held=True)) + final()
    assert said(stream) == ("a", [("a", -1)])


def test_a_token_of_which_a_stop_string_left_the_front_is_shown_as_far_as_it_is_said() -> None:
    stream = completion("", more=probability(2, "b", -2, held=True))
    stream += completion("b c", more=probability(3, " cST", -3)) + final()
    assert said(stream) == ("b c", [("b", -2), (" c", -3)])


def test_the_last_part_of_a_torn_character_stands_for_all_of_it() -> None:
    torn = ',"completion_probabilities":[{"id":9,"token":"é","bytes":[195,169],"logprob":-0.5,"top_logprobs":'
    torn += '[{"id":9,"token":"\ufffd","bytes":[169],"logprob":-0.5}]}]'
    assert said(completion("é", more=torn) + final()) == ("é", [("é", -0.5)])


@pytest.mark.parametrize(
    ("pieces", "inside", "thought", "said"),
    [
        (["<think>a b</think>\n\nc"], False, "a b", "c"),
        (["a</think>c"], True, "a", "c"),
        (["no thoughts"], False, "", "no thoughts"),
        ([" <thin"], False, "", " <thin"),
        (["<think>never closed</thi"], False, "never closed</thi", ""),
        (["<think>a</think>"], False, "a", ""),
    ],
)
def test_think_tags_split_thoughts_from_words(
    pieces: list[str], inside: bool, thought: str, said: str
) -> None:
    for parts in (pieces, [char for piece in pieces for char in piece]):
        splitter = Thoughts(inside)
        found = [pair for part in parts for pair in splitter.feed(part)] + splitter.end()
        assert "".join(t for inside_, t in found if inside_) == thought
        assert "".join(t for inside_, t in found if not inside_).strip("\n") == said.strip("\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("so it is 4.</think> It is 4.", "so it is 4. It is 4."),
        ("</think>\n\nIt is 4.", "It is 4."),
        ("The tag </think> closes, <b>not </think>.", "The tag  closes, <b>not </think>."),
        ("a < b </thin", "a < b </thin"),
        ("It is 4.", "It is 4."),
    ],
)
def test_a_model_whose_thought_was_cut_short_may_close_it_once_more(text: str, said: str) -> None:
    for parts in ([text], list(text)):
        splitter = Thoughts(True)
        found = splitter.feed("hm")
        splitter.stray = True
        for part in ["\n</think>\n\n", *parts]:
            found += splitter.feed(part)
        found += splitter.end()
        assert "".join(t for inside, t in found if inside) == "hm"
        assert "".join(t for inside, t in found if not inside) == said


@pytest.mark.parametrize("pieces", [["\n", "Hi"], ["<", "b>"], [" <", "th", "e"], ["<th"]])
def test_text_that_might_have_opened_a_thought_keeps_its_log_probabilities(pieces: list[str]) -> None:
    decoder = CompletionDecoder(Reading(logprobs=1, thoughts=True))
    stream = b"".join(completion(p, more=probability(i, p, -i)) for i, p in enumerate(pieces)) + final()
    deltas = [event for event in decoder.feed(stream) if isinstance(event, TextDelta)]
    assert "".join(delta.text for delta in deltas) == "".join(pieces)
    assert [one.token for delta in deltas for one in delta.logprobs] == pieces


def test_a_token_whose_text_is_held_back_longer_keeps_its_log_probability() -> None:
    stream = completion("", more=probability(1, "a", -1, held=True))
    stream += completion("a", more=probability(2, "b", -2, held=True))
    stream += completion("bc", more=probability(3, "c", -3)) + final()
    assert said(stream) == ("abc", [("a", -1), ("b", -2), ("c", -3)])


def test_thoughts_in_a_completion_become_reasoning() -> None:
    decoder = CompletionDecoder(Reading(thoughts=True))
    events = decoder.feed(completion("<think>hm") + completion("</think>yes") + final("eos"))
    assert events == [ReasoningDelta("hm"), TextDelta("yes"), ChoiceEnd("stop")]
    assert decoder.tally.usage().reasoning_tokens == 1
    assert CompletionDecoder(Reading(thoughts=True)).feed(completion("<think>hm</t") + final())[
        1
    ] == ReasoningDelta("</t")


def refusal(message: str, kind: str = "invalid_request_error", code: int = 400, **more: int) -> bytes:
    return json.dumps({"error": {"code": code, "message": message, "type": kind} | more}).encode()


def test_a_prompt_that_is_too_long_is_refused_with_both_numbers() -> None:
    body = refusal(
        "request (6031 tokens) exceeds", "exceed_context_size_error", n_prompt_tokens=6031, n_ctx=4096
    )
    error = from_answer(400, body, param="prompt")
    assert isinstance(error, ContextExceeded)
    assert (error.prompt_tokens, error.context_length, error.param) == (6031, 4096, "prompt")


@pytest.mark.parametrize(
    ("status", "body", "kind", "param"),
    [
        (400, refusal("JSON schema error at #: cannot resolve $ref #/nope"), BadRequest, "response_format"),
        (400, refusal("Field 'json_schema': \"json_schema\": secret"), BadRequest, "response_format"),
        (400, refusal("Failed to parse grammar secret"), BadRequest, "response_format"),
        (
            400,
            refusal("\n------------\nWhile executing CallExpression at line 3, secret"),
            BadRequest,
            "messages",
        ),
        (400, refusal("Jinja Exception: secret roles must alternate"), BadRequest, "messages"),
        (400, refusal("Invalid token id secret"), BadRequest, "prompt"),
        (400, refusal("secret"), BadRequest, "x"),
        (400, b"<html>secret", BadRequest, "x"),
        (400, b'{"error": "secret"}', BadRequest, "x"),
        (
            501,
            refusal("Infill is not supported by this model: secret", "not_supported_error", 501),
            Unsupported,
            "suffix",
        ),
        (501, refusal("This server does not support secret", "not_supported_error", 501), Unsupported, "x"),
        (500, refusal("secret", "server_error", 500), EngineError, None),
        (503, refusal("Loading model secret", "unavailable_error", 503), EngineError, None),
    ],
)
def test_refusals_are_said_in_our_words(
    status: int, body: bytes, kind: type[Exception], param: str | None
) -> None:
    error = from_answer(status, body, param="x")
    assert type(error) is kind
    assert error.param == param
    assert error.hint
    assert "secret" not in error.message + error.hint
    if b"<html>" in body or b"secret" in body:
        assert "secret" in error.detail


def test_embeddings_keep_the_order_of_the_inputs() -> None:
    body = b'{"data":[{"embedding":[3.0,4.0],"index":1},{"embedding":[1.0,0.0],"index":0}],"usage":{"prompt_tokens":7}}'
    assert decode_embed(body, 2) == ([[1.0, 0.0], [3.0, 4.0]], 7)
    assert encode_embed(["a", "", (1, 2)]) == {"input": ["a", " ", (1, 2)], "encoding_format": "float"}


@pytest.mark.parametrize("body", [b"{}", b'{"data":[{"embedding":[1.0],"index":0}]}', b"x"])
def test_embeddings_that_are_missing_are_an_error(body: bytes) -> None:
    with pytest.raises(EngineError):
        decode_embed(body, 2)


def test_vectors_have_length_one_also_when_cut() -> None:
    assert normalised([3.0, 4.0]) == (0.6, 0.8)
    assert normalised([3.0, 4.0, 12.0], 2) == (0.6, 0.8)
    assert normalised([0.0, 0.0]) == (0.0, 0.0)


def test_a_vector_that_is_no_number_is_an_error() -> None:
    vectors, _ = decode_embed(b'{"data":[{"embedding":[null,1.0]}]}', 1)
    with pytest.raises(EngineError):
        normalised(vectors[0])


def test_guessed_tokens_and_those_that_were_right_are_counted() -> None:
    drafted = usage().replace(b'"predicted_n":4', b'"predicted_n":4,"draft_n":7,"draft_n_accepted":3')
    _, decoder = read(STREAM.replace(usage(), drafted))
    assert decoder.tally.usage() == Usage(34, 4, 0, 0, 7, 3)
    assert decoder.tally.usage(mute=True) == Usage(34, 0, 0)
