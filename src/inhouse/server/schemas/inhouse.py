"""Routes of our own."""

from __future__ import annotations

from typing import Any

from .words import BOOL, INT, LIST, MODEL, OBJ, STRING, Fields

_BUILD: Any = {
    "name": (STRING, "A build, as inhouse engine list shows it.", {}),
    "version": (STRING, "Another version than the one of the list.", {}),
    "sha256": (LIST, "Digests of the files, in order.", {"items": {"type": STRING}, "maxItems": 2}),
    "files": (LIST, "Paths of archives to take instead.", {"items": {"type": STRING}, "maxItems": 2}),
    "anyway": (BOOL, "Although it does not fit what was found here.", {}),
    "jobs": (INT, "Compilers at once; 0: as many as cores.", {"minimum": 0, "maximum": 1024}),
    "with_tools": (BOOL, "Fetch CMake and Ninja where they are missing.", {}),
}

FIELDS: Fields = {
    "Alias": (
        {"name": (STRING, "The new name.", {}), "model": (STRING, "The model it follows.", {})},
        ("name", "model"),
    ),
    "Prune": (
        {
            "dry_run": (BOOL, "Only say what would be freed.", {}),
            "all": (BOOL, "Also uploads of the last hour and all saved prompts.", {}),
        },
        (),
    ),
    "Plan": (
        {
            "model": (STRING, "A stored model, or one of the catalogue.", {}),
            "path": (STRING, "A GGUF file instead, for this machine's own user.", {}),
            "context": (INT, "Tokens for each user; without it as the server would choose.", {"minimum": 1}),
            "users": (INT, "Requests answered at once.", {"minimum": 1, "maximum": 1024}),
            "quant": (STRING, "As if in another quantisation, such as Q5_K_M.", {}),
            "kv_type": (STRING, "Type of the KV cache: f16, q8_0, q4_0 and others.", {}),
            "prompt": (INT, "Tokens of the prompt that the first token is told for; 512.", {"minimum": 1}),
            "machine": (OBJ, "Another machine, as /api/machine tells of it.", {}),
            "exact": (BOOL, "Let the engine lay it out, too; for this machine's own user.", {}),
            "quants": (BOOL, "Compare the quantisations of the model.", {}),
            "picture": (BOOL, "Draw it, too, as SVG.", {}),
        },
        (),
    ),
    "Verify": ({"repair": (BOOL, "Pull damaged models again.", {})}, ()),
    "Models": ({"models": (LIST, "Names; none is all.", {"items": {"type": STRING}})}, ()),
    "EngineInstall": (_BUILD, ("name",)),
    "EngineBuild": (_BUILD, ()),
    "EngineName": ({"name": (STRING, "A build, or auto for the best.", {})}, ("name",)),
    "EngineRemove": (
        {"name": (STRING, "A build.", {}), "force": (BOOL, "Although models run on it.", {})},
        ("name",),
    ),
    "EngineBench": (
        {
            "model": (STRING, "What to measure with; without it a small one that is here.", {}),
            "builds": (LIST, "Builds; none is all.", {"items": {"type": STRING}}),
            "rounds": (INT, "How often each is asked.", {"minimum": 1, "maximum": 100}),
        },
        (),
    ),
    "Bench": (
        {
            "model": MODEL,
            "clients": (LIST, "How many send at once, one after the other.", {"items": {"type": INT}}),
            "prompt": (INT, "Tokens of each prompt.", {"minimum": 1, "maximum": 1_000_000}),
            "tokens": (INT, "Tokens of each answer at the most.", {"minimum": 1, "maximum": 1_000_000}),
            "rounds": (INT, "How often each number of clients is tried.", {"minimum": 1, "maximum": 1000}),
            "task": (
                STRING,
                "To go on with a text, or to copy one with a change.",
                {"enum": ["text", "copy"]},
            ),
            "chat": (BOOL, "Ask as a conversation.", {}),
            "shared": (BOOL, "Prompts that begin alike, so that a prompt cache helps.", {}),
            "against": (STRING, "A build, or the URL of a server on this machine, in turns.", {}),
            "there": (STRING, "What that server calls the model.", {}),
            "before": (OBJ, "Figures of an earlier run to compare with.", {}),
            "plot": (BOOL, "Draw a picture (SVG).", {}),
        },
        ("model",),
    ),
    "Tune": (
        {
            "model": MODEL,
            "quick": (BOOL, "Only what tells most.", {}),
            "minutes": (INT, "How long it may take.", {"minimum": 1, "maximum": 1440}),
        },
        ("model",),
    ),
    "Lock": (
        {
            "inhouse_lock": (INT, "The format: 1.", {}),
            "models": (LIST, "As in a lock file.", {"items": {"type": OBJ}}),
        },
        ("inhouse_lock", "models"),
    ),
    "Diff": (
        {"model": MODEL, "other": (STRING, "Another model; without it the previous version.", {})},
        ("model",),
    ),
}
