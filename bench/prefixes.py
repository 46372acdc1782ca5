"""How soon does the first token come when the prompt's beginning was known before a restart?

usage: python bench/prefixes.py --home DIR [--models qwen2.5-coder:0.5b,qwen2.5-coder:1.5b] [--engine wheel]
       [--rounds 5] [--tokens 2000]

Each round starts the server three times with a fresh beginning of some 2,000 tokens: the first one computes
it (cold), asks again with another question and saves it; the second one, whose model is loaded already,
is asked about it (known); the third is asked about a beginning that nobody ever saw (cold again, so that the
two stand on both sides of what is compared). TTFT as a client sees it; the load is not part of it.

Target: known at most 0.1 of cold, by round.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
import urllib.request
from pathlib import Path
from typing import Any

from common import Running, hardware, server, shown

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "while",
    "rain",
    "fell",
    "over",
    "green",
    "hills",
    "and",
    "people",
    "walked",
    "along",
    "quiet",
    "roads",
    "to",
    "find",
    "old",
    "books",
    "about",
    "rivers",
    "kings",
    "winters",
    "music",
    "bread",
    "salt",
    "stones",
    "letters",
    "doors",
    "lamps",
    "ships",
    "and",
    "the",
    "long",
    "way",
    "home",
]


def beginning(seed: int, tokens: int) -> str:
    """Some ``tokens`` tokens: these words are one each in common vocabularies."""
    pick = random.Random(seed)
    return " ".join(pick.choice(WORDS) for _ in range(tokens))


def ask(running: Running, model: str, system: str, question: str) -> dict[str, Any]:
    """Seconds to the first token, and the usage."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    body = {
        "model": model,
        "messages": messages,
        "temperature": 0,
        "max_tokens": 4,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{running.port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    began, found = time.perf_counter(), dict[str, Any]()
    with urllib.request.urlopen(request) as answer:
        for line in answer:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            delta = event["choices"][0]["delta"] if event["choices"] else {}
            if delta.get("content") and "ttft" not in found:
                found["ttft"] = time.perf_counter() - began
            if event.get("usage"):
                found["prompt"] = event["usage"]["prompt_tokens"]
                found["cached"] = event["usage"]["prompt_tokens_details"]["cached_tokens"]
    return found


def saved(home: Path) -> set[Path]:
    return set((home / "prefixes").rglob("*.json"))


def loaded(running: Running, model: str) -> None:
    ask(running, model, "Be brief.", "Hello")


def one_round(
    home: Path, env: dict[str, str], model: str, seed: int, tokens: int
) -> tuple[float, float, int]:
    """TTFT cold and known, and the bytes that were saved."""
    known, before = beginning(seed, tokens), saved(home)
    with server(home, **env) as running:
        loaded(running, model)
        first = ask(running, model, known, "Who walks?")
        ask(running, model, known, "Who sits?")
        deadline = time.monotonic() + 30
        while not (new := saved(home) - before):
            if time.monotonic() > deadline:
                raise SystemExit("nothing was saved")
            time.sleep(0.05)
    with server(home, **env) as running:
        loaded(running, model)
        again = ask(running, model, known, "Who looks for books?")
        if again["cached"] < again["prompt"] * 0.9:
            raise SystemExit(f"only {again['cached']} of {again['prompt']} tokens were known")
    with server(home, **env) as running:
        loaded(running, model)
        other = ask(running, model, beginning(-seed - 1, tokens), "Who walks?")
    size = sum(path.with_suffix(".kv").stat().st_size for path in new)
    return statistics.mean([first["ttft"], other["ttft"]]), again["ttft"], size


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, required=True, help="a home that has the models")
    parser.add_argument("--models", default="qwen2.5-coder:0.5b,qwen2.5-coder:1.5b")
    parser.add_argument("--engine", default="wheel")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=2000)
    args = parser.parse_args()
    print(hardware())
    env = {
        "INHOUSE_ENGINE": args.engine,
        "INHOUSE_CONTEXT_LENGTH": str(2 * args.tokens),
        "INHOUSE_SLOTS": "2",
    }
    for model in args.models.split(","):
        rounds = [
            one_round(args.home, env, model, time.time_ns() % 2**30, args.tokens) for _ in range(args.rounds)
        ]
        cold, known = [one[0] for one in rounds], [one[1] for one in rounds]
        print(f"{model}, {args.tokens} tokens, {rounds[-1][2] / 1e6:.0f} MB saved")
        print(f"  cold TTFT   {shown(cold)} s")
        print(f"  known TTFT  {shown(known)} s")
        print(
            f"  ratio       {shown([b / a for a, b in zip(cold, known, strict=True)])}   target: at most 0.1"
        )


if __name__ == "__main__":
    main()
