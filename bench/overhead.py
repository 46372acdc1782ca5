"""What does Inhouse cost against the bare worker? The same worker process is asked through Inhouse
and directly on its private socket, interleaved.

usage: python bench/overhead.py [--home DIR] [--model smollm2] [--rounds 10] [--tokens 128]

Targets: at most 2 ms added to the median TTFT; at least 97 % of its tokens/s with one and with eight clients.
"""

from __future__ import annotations

import argparse
import os
import statistics
from pathlib import Path
from typing import Any

from common import Running, hardware, server, shown, streams

MARK = b'"content":"'
PATH = "/v1/chat/completions"


def body(model: str, tokens: int, salt: int) -> dict[str, Any]:
    text = f"Tell a long story about the number {salt}."
    return {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "stream": True,
        "max_tokens": tokens,
        "seed": 1,
        "temperature": 0,
        "logit_bias": {"2": -100, "0": -100}
        if model.startswith("smol")
        else {"151645": -100, "151643": -100},
    }


def native(sent: dict[str, Any]) -> dict[str, Any]:
    """The same request in the worker's own words: its logit bias is a list of pairs."""
    pairs = [[int(k), v] for k, v in sent["logit_bias"].items()]
    return {**sent, "logit_bias": pairs, "cache_prompt": True}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--home", type=Path, default=Path(os.environ.get("INHOUSE_HOME", "~/.inhouse")).expanduser()
    )
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=128)
    args = parser.parse_args()
    print(hardware())
    with server(args.home, INHOUSE_SLOTS="8", INHOUSE_CONTEXT_LENGTH="2048") as running:
        streams(running.address(), [body(args.model, 1, 0)], PATH, MARK)
        print(f"model {args.model}, worker {' '.join(running.worker.cmdline()[-1:])}")
        first_token(running, args)
        rates = {count: throughput(running, args, count) for count in (1, 8)}
        for side in ("bare", "inhouse"):
            print(f"eight clients over one, {side}: x{rates[8][side] / rates[1][side]:.2f}")


def first_token(running: Running, args: argparse.Namespace) -> None:
    worker = running.sockets()[-1]
    times: dict[str, list[float]] = {"bare": [], "inhouse": []}
    for i in range(args.rounds * 4):
        sent = body(args.model, 2, 1000)
        for side in ("bare", "inhouse") if i % 2 else ("inhouse", "bare"):
            target = worker if side == "bare" else running.address()
            got = streams(target, [native(sent) if side == "bare" else sent], PATH, MARK)
            times[side].append(got[0].ttft * 1000)
    added = statistics.median(times["inhouse"]) - statistics.median(times["bare"])
    pairs = [ours - bare for ours, bare in zip(times["inhouse"], times["bare"], strict=True)]
    print(f"\nTTFT, prompt in the cache [ms]: bare {shown(times['bare'])}, inhouse {shown(times['inhouse'])}")
    print(
        f"  added to the median: {added:.2f} ms, median of pairs {statistics.median(pairs):.2f} ms (target 2 or less)"
    )


def throughput(running: Running, args: argparse.Namespace, count: int) -> dict[str, float]:
    worker = running.sockets()[-1]
    rates: dict[str, list[float]] = {"bare": [], "inhouse": []}
    for i in range(args.rounds):
        sent = [body(args.model, args.tokens, k) for k in range(count)]
        for side in ("bare", "inhouse") if i % 2 else ("inhouse", "bare"):
            target = worker if side == "bare" else running.address()
            mine = [native(one) for one in sent] if side == "bare" else sent
            got = streams(target, mine, PATH, MARK)
            rates[side].append(sum(a.tokens for a in got) / max(a.seconds for a in got))
    middle = {side: statistics.median(values) for side, values in rates.items()}
    print(
        f"\n{count} client(s) [tokens/s together]: bare {shown(rates['bare'])}, inhouse {shown(rates['inhouse'])}"
    )
    pairs = [ours / bare for ours, bare in zip(rates["inhouse"], rates["bare"], strict=True)]
    print(
        f"  ratio: medians {middle['inhouse'] / middle['bare']:.3f}, pairs {shown(pairs)} (target 0.97 or more)"
    )
    return middle


if __name__ == "__main__":
    main()
