"""How a sentence's vector is made of its tokens' vectors, as the model's own files say.

Sources: the files that sentence-transformers writes: ``modules.json``, ``1_Pooling/config.json``,
``config_sentence_transformers.json``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
_KNOWN = ("Transformer", "Pooling", "Normalize")


@dataclass(frozen=True)
class Pooling:
    """``modes`` are joined one behind the other, as the library does; ``prompt`` stands before each text."""

    modes: tuple[str, ...] = ("mean",)
    prompt: str = ""
    lower: bool = False

    @classmethod
    def of(cls, folder: Path, *, generating: bool = False) -> Pooling:
        """What a model's folder says; without files: the mean, of a generating model the last token.

        Raises ValueError for steps that are not known here.
        """
        modules = _json(folder / "modules.json")
        steps = modules if isinstance(modules, list) else []
        path = folder / "1_Pooling"
        for step in steps:
            kind = str(step.get("type", "")).rpartition(".")[2]
            if kind not in _KNOWN:
                raise ValueError(f"the model's step '{kind}' after the transformer is not supported")
            if kind == "Pooling":
                path = folder / str(step.get("path", "1_Pooling"))
        if folder.resolve() not in path.resolve().parents:
            raise ValueError("the model's modules.json points outside of its folder")
        settings = _json(path / "config.json")
        modes = _modes(settings if isinstance(settings, dict) else {})
        library = _json(folder / "config_sentence_transformers.json")
        bert = _json(folder / "sentence_bert_config.json")
        return cls(
            modes or (("lasttoken",) if generating else ("mean",)),
            _prompt(library if isinstance(library, dict) else {}),
            isinstance(bert, dict) and bert.get("do_lower_case") is True,
        )

    def text(self, text: str) -> str:
        """A text as the model is to read it."""
        return self.prompt + (text.lower() if self.lower else text)


def _modes(settings: dict[str, Any]) -> tuple[str, ...]:
    named = settings.get("pooling_mode")
    if named is not None:
        modes = tuple(named) if isinstance(named, list) else (named,)
        if not all(mode in _MODES.values() for mode in modes):
            raise ValueError(f"the pooling '{named}' is not supported")
        return modes
    return tuple(mode for key, mode in _MODES.items() if settings.get(key) is True)


def _prompt(library: dict[str, Any]) -> str:
    """The prompt that the library puts before texts when none is named."""
    prompts, name = library.get("prompts"), library.get("default_prompt_name")
    found = prompts.get(name) if isinstance(prompts, dict) and name else None
    return found if isinstance(found, str) else ""


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
