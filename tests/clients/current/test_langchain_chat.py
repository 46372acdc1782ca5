"""LangChain's own standard integration suites for chat models, over every API of ours.

Skipped are images, sound and PDF files, which the small text models here do not read, and the timing of
recorded answers.
"""

from __future__ import annotations

from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

from conftest import CODER, KEY, SMALL, URL


class Suite(ChatModelIntegrationTests):
    """What holds for every API; pytest collects its subclasses only."""

    @property
    def model_override_value(self) -> str:
        return SMALL


class TestChatCompletions(Suite):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "model": CODER,
            "base_url": f"{URL}/v1",
            "api_key": KEY,
            "temperature": 0,
            "max_tokens": 200,
            "stream_usage": True,
        }

    @property
    def supports_json_mode(self) -> bool:
        return True


class TestResponses(TestChatCompletions):
    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {**super().chat_model_params, "use_responses_api": True}


class TestMessages(Suite):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatAnthropic

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": CODER, "base_url": URL, "api_key": KEY, "temperature": 0, "max_tokens": 200}

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True


class TestOllama(Suite):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOllama

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "model": CODER,
            "base_url": URL,
            "client_kwargs": {"headers": {"authorization": f"Bearer {KEY}"}},
            "temperature": 0,
            "num_predict": 200,
        }

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def has_tool_choice(self) -> bool:
        return False  # this client sends none, whatever the server can do
