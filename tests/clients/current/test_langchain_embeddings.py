"""LangChain's own standard integration suites for embeddings."""

from __future__ import annotations

from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_ollama import OllamaEmbeddings
from langchain_openai import OpenAIEmbeddings
from langchain_tests.integration_tests import EmbeddingsIntegrationTests

from conftest import EMBEDDER, KEY, URL


class TestOpenAIWithTokens(EmbeddingsIntegrationTests):
    """As it comes: base64, and texts (its own token ids would be another model's)."""

    @property
    def embeddings_class(self) -> type[Embeddings]:
        return OpenAIEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {
            "model": EMBEDDER,
            "base_url": f"{URL}/v1",
            "api_key": KEY,
            "check_embedding_ctx_length": False,
        }


class TestOllama(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return OllamaEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {
            "model": EMBEDDER,
            "base_url": URL,
            "client_kwargs": {"headers": {"authorization": f"Bearer {KEY}"}},
        }
