"""How long does it take to look into a GGUF file?

usage: python bench/gguf.py [FILE ...] [--rounds 15]

Reads a made file of the size of Qwen2.5's header (151,936 tokens, 151,387 merges, 290 tensors) and the
files given: the header alone (checked), all facts as at import, and the table of tensors; beside them
``GGUFReader`` of the ``gguf`` package where it is installed (``pip install gguf``; it checks nothing).
Target: under 0.1 s.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))
# This file is called like the package it is compared with: the package must be found first.
sys.path.append(sys.path.pop(0))

from common import hardware, shown

from inhouse.store.gguf import read_header
from inhouse.store.gguf_facts import inspect, tensors
from support import tiny_gguf

TOKENS, MERGES, TENSORS = 151_936, 151_387, 290


def made(path: Path) -> Path:
    """A file with a header like that of Qwen2.5: real lengths of words, tiny weights."""
    words = [f"{'Ġ' if n % 3 else ''}w{n:x}" for n in range(TOKENS)]
    keys = {
        "tokenizer.ggml.tokens": tiny_gguf.array(tiny_gguf.STRING, words),
        "tokenizer.ggml.token_type": tiny_gguf.array(tiny_gguf.I32, [1] * (TOKENS - 22) + [3] * 22),
        "tokenizer.ggml.merges": tiny_gguf.array(
            tiny_gguf.STRING, [f"Ġ{n % 997:x} {n:x}" for n in range(MERGES)]
        ),
    }
    weights = [tiny_gguf.Tensor(f"blk.{n // 12}.attn_{n % 12}.weight", (32,)) for n in range(TENSORS)]
    return tiny_gguf.llama(keys, tensors=weights).write(path)


def library(path: Path) -> object:
    from gguf import GGUFReader

    return GGUFReader(path)


def milliseconds(run: Callable[[Path], object], path: Path, rounds: int) -> list[float]:
    out = []
    for _ in range(rounds):
        began = time.perf_counter()
        run(path)
        out.append((time.perf_counter() - began) * 1000)
    return out


def report(path: Path, rounds: int) -> None:
    print(f"\n{path.name}, {path.stat().st_size / 1e6:.0f} MB (target: 100 ms)")
    ours: dict[str, Callable[[Path], object]] = {
        "header": read_header,
        "all facts": inspect,
        "table of tensors": lambda p: tensors([p]),
    }
    medians = {}
    for name, run in ours.items():
        values = milliseconds(run, path, rounds)
        medians[name] = statistics.median(values)
        print(f"  {name:18s} {shown(values)} ms")
    with contextlib.suppress(ImportError):
        values = milliseconds(library, path, max(3, rounds // 5))
        ratio = statistics.median(values) / medians["all facts"]
        print(f"  {'GGUFReader':18s} {shown(values)} ms   all facts are x{ratio:.1f} as fast")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    print(hardware())
    with tempfile.TemporaryDirectory(prefix="inhouse-bench-") as folder:
        for path in [made(Path(folder) / "qwen2.5-sized.gguf"), *args.files]:
            report(path, args.rounds)


if __name__ == "__main__":
    main()
