"""How far from the exact result is llama.cpp, and how far are our kernels?

usage: python bench/exactness.py --bin DIR --model FILE [--library FILE] [--types Q4_0,Q4_K] [--chunks 10]

Both round activations to 8 bits, so neither is the truth, and how they differ from each other (perplexity.py)
says little: mostly it is chance. The truth can be had: the same quantised weights written out as 32-bit floats
(llama-quantize makes both files), multiplied by activations that nobody rounds. From its distributions over
the next token llama-perplexity gives the Kullback-Leibler divergence of either, its mean and standard error, how
often the likeliest token is the same, and the ratio of the perplexities. Of the same accuracy class is what diverges
by no more than MORE times what stock does.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import perplexity
from common import hardware

TYPES = perplexity.TYPES
MORE = 1.05
NUMBER = r"\s*([-+]?[0-9.]+) ±\s*([0-9.]+)"


@dataclass(frozen=True)
class Distance:
    """From the exact result: mean divergence and its error in nats, perplexity in parts of the exact one, and
    the share of likeliest tokens that are the same in percent."""

    divergence: float
    unsure: float
    perplexity: float
    same: float

    def __str__(self) -> str:
        parts = f"{self.divergence:.6f} +- {self.unsure:.6f}"
        return f"{parts} {100 * (self.perplexity - 1):+6.2f} % {self.same:6.1f} %"


def distance(told: str) -> Distance:
    """What llama-perplexity says of a divergence."""
    found = [
        re.search(name + NUMBER, told)
        for name in (r"Mean\s+KLD:", r"Mean PPL\(Q\)/PPL\(base\)\s*:", r"Same top p:")
    ]
    if not all(found):
        raise SystemExit(f"no divergence in what llama-perplexity told:\n{told[-2000:]}")
    divergence, ratio, same = (match for match in found if match)
    return Distance(float(divergence[1]), float(divergence[2]), float(ratio[1]), float(same[1]))


def compare(args: argparse.Namespace, name: str, words: Path, aside: Path) -> tuple[Distance, Distance]:
    """Stock's distance and ours."""
    quantised = perplexity.made(args, name, aside)
    exact, logits = aside / "exact.gguf", aside / "logits"
    quantise = [args.bin / "llama-quantize", "--allow-requantize", quantised, exact, "F32"]
    perplexity.run([*quantise, args.threads])
    command = [args.bin / "llama-perplexity", "-f", words, "-c", 512, "--chunks", args.chunks]
    command += ["-t", args.threads, "--kl-divergence-base", logits]
    perplexity.run([*command, "-m", exact])
    exact.unlink()
    command += ["--kl-divergence", "-m", quantised]
    stock = distance(perplexity.run(command))
    ours = distance(perplexity.run(command, perplexity.with_ours(args, aside)))
    perplexity.must_have_been_on(aside)
    return stock, ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--bin", type=Path, required=True, help="folder of llama-perplexity and llama-quantize"
    )
    parser.add_argument("--model", type=Path, required=True, help="what the types are made of")
    parser.add_argument("--library", type=Path)
    parser.add_argument("--types", default=TYPES)
    parser.add_argument("--chunks", type=int, default=10)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    args.library = (args.library or importlib.import_module("inhouse_kernels").library()).absolute()
    print(f"{hardware()}; {args.model.name}, {args.chunks} chunks of 512 tokens")
    print("each from the exact result: divergence (nats), perplexity, same likeliest token")
    print(f"{'type':8}{'stock':>40}{'ours':>40}{'ratio':>8}  target {MORE}")
    ratios = []
    with tempfile.TemporaryDirectory(prefix="inhouse-exactness-") as folder:
        aside = Path(folder)
        words = perplexity.text(aside / "text.txt")
        for name in args.types.split(","):
            stock, ours = compare(args, name, words, aside)
            ratio = ours.divergence / stock.divergence
            judged = "ok" if ratio <= MORE else "MORE"
            print(f"{name:8}{stock!s:>40}{ours!s:>40}{ratio:8.3f}  {judged}", flush=True)
            ratios.append(ratio)
    print(f"\nmedian {statistics.median(ratios):.3f}, largest {max(ratios):.3f}")


if __name__ == "__main__":
    main()
