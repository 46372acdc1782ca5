"""Engine over OpenAI's wire: a worker that speaks it here, a provider elsewhere."""

from .engine import OpenAIEngine

__all__ = ["OpenAIEngine"]
