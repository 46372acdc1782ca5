"""The same conversation means the same in every dialect: one canonical request, modulo what is documented."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings

from dialects.conversations_support import (
    DIALECTS,
    GOLDEN,
    PICTURE,
    TOOLS,
    chats,
    settled,
)
from inhouse.core.messages import (
    Message,
    Remote,
    Sampling,
    Text,
    ToolCall,
    ToolResult,
)
from inhouse.core.requests import Chat


def check(name: str, chat: Chat) -> None:
    dialect = DIALECTS[name]
    read = dialect.read(json.dumps(dialect.write(chat)).encode())
    assert settled(read) == settled(dialect.expected(chat, read))


@pytest.mark.parametrize("name", DIALECTS)
def test_the_scripted_conversation_is_the_same_everywhere(name):
    check(name, GOLDEN)


@pytest.mark.parametrize("name", DIALECTS)
@settings(deadline=None, max_examples=120, suppress_health_check=list(HealthCheck))
@given(chat=chats())
def test_any_conversation_is_the_same_everywhere(name, chat):
    check(name, chat)


ADDRESS = Remote("https://example.com/a.png", "image")
CALLED = Message("assistant", (ToolCall("call_1", "time", "{}"),))


@pytest.mark.parametrize("name", ["openai", "responses", "anthropic"])
def test_an_address_of_an_image_is_kept_for_whoever_brings_it(name):
    chat = Chat(
        model="m", messages=(Message("user", (Text("x"), ADDRESS)),), sampling=Sampling(max_tokens=16)
    )
    check(name, chat)


@pytest.mark.parametrize("name", ["responses", "anthropic"])
def test_a_tool_may_answer_with_images(name):
    result = ToolResult("Look.", "call_1", "time", images=(PICTURE, ADDRESS))
    messages = (Message("user", (Text("x"),)), CALLED, Message("tool", (result,)))
    check(name, Chat(model="m", messages=messages, tools=TOOLS, sampling=Sampling(max_tokens=16)))
