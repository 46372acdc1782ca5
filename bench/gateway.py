"""How many tokens can one gateway process carry? With the fake engine, on one core.

usage: python bench/gateway.py [--seconds 10] [--profile FILE]

The server is pinned to one core, the fake engine and the client to the other. Two questions:
  paced    64 streams of 300 tokens/s, every token its own write: kept up with, at what share of the core?
  unpaced  the engine sends as fast as it can: how many tokens/s pass through?
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys

import psutil
from common import Answer, hardware, server, shown, streams

MARK = b'"content":"'


def prompt(**options: object) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"/fake {json.dumps(options)}"}]


def run(address: tuple[str, int], count: int, **options: object) -> list[Answer]:
    body = {"model": "fake", "messages": prompt(**options), "stream": True, "max_tokens": 10_000_000}
    return streams(address, [body] * count, "/v1/chat/completions", MARK)


def spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", help="write a py-spy profile of the unpaced run here")
    args = parser.parse_args()
    print(hardware())
    with server(
        INHOUSE_ENGINE="fake",
        INHOUSE_FAKE=json.dumps({"slots": 64, "context_length": 10_000_000, "memory": 1}),
    ) as running:
        run(running.address(), 1, tokens=1, rate=0)
        gateway = psutil.Process(running.process.pid)
        if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
            for child in gateway.children(recursive=True):
                child.cpu_affinity([1])
            gateway.cpu_affinity([0])
            os.sched_setaffinity(0, {1})
        paced(running, gateway, args)
        unpaced(running, gateway, args)


def paced(running: object, gateway: psutil.Process, args: argparse.Namespace) -> None:
    shares, micros, kept, writes = [], [], [], []
    tokens = int(300 * args.seconds)
    for _ in range(args.rounds):
        before = spent(gateway)
        answers = run(running.address(), 64, tokens=tokens, rate=300)  # type: ignore[attr-defined]
        used = spent(gateway) - before
        got = sum(a.tokens for a in answers)
        seconds = max(a.seconds for a in answers)
        shares.append(used / seconds * 100)
        micros.append(used / got * 1e6)
        kept.append(statistics.median(a.tokens / a.seconds for a in answers) / 300 * 100)
        writes.append(sum(a.writes for a in answers) / got)
    print("\n64 streams of 300 tokens/s (target: kept up with at 80 % of a core or less)")
    print(f"  share of the core      {shown(shares)} %")
    print(f"  CPU per token          {shown(micros)} us")
    print(f"  pace kept (of 300/s)   {shown(kept)} %")
    print(f"  reads per token        {shown(writes)}")


def unpaced(running: object, gateway: psutil.Process, args: argparse.Namespace) -> None:
    rates, micros = [], []
    profile = None
    if args.profile:
        profile = subprocess.Popen(
            ["py-spy", "record", "-p", str(gateway.pid), "-o", args.profile, "-d", "8"]
        )
    for _ in range(args.rounds):
        before = spent(gateway)
        answers = run(running.address(), 8, tokens=20_000, rate=0)  # type: ignore[attr-defined]
        got = sum(a.tokens for a in answers)
        rates.append(got / max(a.seconds for a in answers))
        micros.append((spent(gateway) - before) / got * 1e6)
    print("\n8 streams, the engine does not pace itself (target: 50,000 tokens/s or more)")
    print(f"  tokens/s               {shown(rates)}")
    print(f"  CPU per token          {shown(micros)} us")
    if profile:
        profile.wait()
    sys.stdout.flush()


if __name__ == "__main__":
    main()
