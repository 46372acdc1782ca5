"""How right are plans? Loads models in several configurations and prints predicted beside measured.

    python bench/predictions.py MODEL... [--home HOME] [--prompt N] [--answer N] [--skip-speed]

Models are names in HOME's store (default: INHOUSE_HOME). For each configuration the plan is asked first, then
a server of our own loads the model and answers; memory is the worker's resident size after its first
answer, rates are the engine's own. The history starts empty, so the first speeds are told from nothing and the
later ones from what was learnt. Ratios are measured / predicted: 1.00 is right.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.running import Server, serving

MIB = 2**20
CONFIGURATIONS = (
    {"context": 2048, "users": 1, "kv_type": "f16"},
    {"context": 8192, "users": 1, "kv_type": "f16"},
    {"context": 2048, "users": 4, "kv_type": "f16"},
    {"context": 4096, "users": 2, "kv_type": "q8_0"},
)
"""Each is one load; two requests follow, of which the second finds a history."""


def plan(server: Server, model: str, how: dict[str, Any], prompt: int) -> dict[str, Any]:
    answer = server.ask("POST", "/api/plan", {"model": model, "prompt": prompt, **how}, timeout=120)
    assert answer.status == 200, answer.body
    return dict(answer.json)


def ask(server: Server, model: str, prompt: int, answer: int) -> dict[str, Any]:
    """One request whose prompt nobody knows; the engine's figures."""
    words = " ".join(f"w{time.monotonic_ns() % 9973 + n}" for n in range(prompt // 5))
    body = {
        "model": model,
        "prompt": words,
        "raw": True,
        "stream": False,
        "options": {"num_predict": answer, "temperature": 0},
    }
    got = server.ask("POST", "/api/generate", body, timeout=600)
    assert got.status == 200, got.body
    return dict(got.json)


def rates(got: dict[str, Any]) -> tuple[float, float]:
    """(prefill, decode) tokens a second."""
    fresh = got["prompt_eval_count"] - got.get("prompt_eval_cached_count", 0)
    return fresh / got["prompt_eval_duration"] * 1e9, got["eval_count"] / got["eval_duration"] * 1e9


def one(
    home: Path, model: str, how: dict[str, Any], args: argparse.Namespace
) -> list[tuple[str, float, float]]:
    """(what, predicted, measured) of one configuration, printed as they come."""
    env = {
        "INHOUSE_ENGINE": "wheel",
        "INHOUSE_SLOTS": str(how["users"]),
        "INHOUSE_CONTEXT_LENGTH": str(how["context"]),
        "INHOUSE_KV_CACHE_TYPE": how["kv_type"],
        "INHOUSE_SPECULATIVE": "none",
    }
    found: list[tuple[str, float, float]] = []
    with serving(home, **env) as server:
        for turn in range(2):
            alone = {**how, "users": 1}
            told = plan(server, model, how, args.prompt), plan(server, model, alone, args.prompt)
            got = ask(server, model, args.prompt, args.answer)
            if turn == 0:
                resident = psutil.Process(server.worker()).memory_info().rss / MIB
                found.append(("memory", told[0]["memory"]["resident"] / MIB, resident))
            if not args.skip_speed:
                prefill, decode = rates(got)
                speed = told[1]["speed"]
                for what, value in (("prefill", prefill), ("decode", decode)):
                    low, high = speed[what]["low"], speed[what]["high"]
                    basis = "learnt" if speed["basis"] == "this model" else speed["basis"]
                    found.append((f"{what} ({basis})", (low * high) ** 0.5, value))
    for what, predicted, measured in found:
        ratio = measured / predicted
        label = f"{model} {how['context']}x{how['users']} {how['kv_type']}"
        print(f"{label:<40} {what:<30} {predicted:10.1f} {measured:10.1f} {ratio:8.3f}", flush=True)
    return found


def borrowed(home: Path) -> Path:
    """A home with the same models and no history."""
    own = Path(tempfile.mkdtemp(prefix="predictions-"))
    (own / "models").symlink_to(home / "models", target_is_directory=True)
    if (home / "machine.json").exists():
        shutil.copy(home / "machine.json", own)
    return own


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+")
    parser.add_argument(
        "--home", type=Path, default=Path(os.environ.get("INHOUSE_HOME", "~/.inhouse")).expanduser()
    )
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--answer", type=int, default=64)
    parser.add_argument("--skip-speed", action="store_true")
    parser.add_argument("--json", type=Path, help="write all figures there, too")
    args = parser.parse_args()
    own = borrowed(args.home)
    every: list[dict[str, Any]] = []
    print(f"{'model and configuration':<40} {'what':<30} {'predicted':>10} {'measured':>10} {'ratio':>8}")
    try:
        for model in args.models:
            for how in CONFIGURATIONS:
                for what, predicted, measured in one(own, model, how, args):
                    every.append(
                        {"model": model, **how, "what": what, "predicted": predicted, "measured": measured}
                    )
    finally:
        shutil.rmtree(own)
    for what in dict.fromkeys(row["what"] for row in every):
        off = [abs(row["predicted"] / row["measured"] - 1) for row in every if row["what"] == what]
        print(
            f"{what}: off by {statistics.median(off):.1%} (median), {max(off):.1%} (most), {len(off)} times"
        )
    if args.json:
        args.json.write_text(json.dumps(every, indent=1))


if __name__ == "__main__":
    main()
