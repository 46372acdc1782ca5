"""Are answers with our kernels as good as without? Perplexity of a text, for every quantised type.

usage: python bench/perplexity.py --bin DIR --model FILE [--library FILE] [--types Q4_0,Q4_K] [--chunks 20]

DIR holds a native build's llama-perplexity (it must export ggml's symbols) and llama-quantize, which makes
each type out of FILE, all tensors of one type where their rows allow it: those of 256-blocks need a model
with rows divisible by 256. ``--types as-is`` takes FILE itself. The text is this repository's own
documentation, so compare within a run only.

Target: within 0.2 % of stock for every type. Both round activations to 8 bits in their own way, so neither is
the truth and single tokens differ both ways. The two read the same chunks, so what counts is the mean of the
chunks' differences, and how uncertain that mean is (its standard error): "ok" and "TOO FAR" are said where
two standard errors leave no doubt. The uncertainty of either number alone is many times larger.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import re
import statistics
import subprocess
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import wheel
from common import hardware

ROOT = Path(__file__).resolve().parent.parent
TYPES = "Q4_0,Q4_1,Q5_0,Q5_1,Q8_0,Q2_K,Q3_K,Q4_K,Q5_K,Q6_K,IQ4_NL,IQ4_XS,MXFP4"
NAMES = {"MXFP4": "MXFP4_MOE", "Q3_K": "Q3_K_S", "Q4_K": "Q4_K_S", "Q5_K": "Q5_K_S"}
TARGET = 0.002
AS_IS = "as-is"
REPORT = "report.json"


def text(target: Path) -> Path:
    """The documentation in one file."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    target.write_text("\n\n".join(page.read_text("utf-8") for page in pages), "utf-8")
    return target


def run(command: list[object], env: dict[str, str] | None = None) -> str:
    inside = {k: v for k, v in os.environ.items() if not k.startswith(("INHOUSE_", "GGML_"))}
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        env=inside | (env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{Path(words[0]).name} failed:\n{done.stdout[-2000:]}")
    return done.stdout


def losses(command: list[object], env: dict[str, str]) -> list[float]:
    """The mean negative log-likelihood of a token, for each chunk. llama-perplexity prints the perplexity of
    all chunks so far after each."""
    told = run(command, env)
    so_far = [float(value) for value in re.findall(r"\[\d+\]([0-9.]+),", told)]
    if len(so_far) < 2:
        raise SystemExit(f"no numbers in what llama-perplexity told:\n{told[-2000:]}")
    sums = [0.0, *(count * math.log(value) for count, value in enumerate(so_far, 1))]
    return [after - before for before, after in pairwise(sums)]


def verdict(off: float, unsure: float) -> str:
    if abs(off) + 2 * unsure <= TARGET:
        return "ok"
    return "TOO FAR" if abs(off) - 2 * unsure > TARGET else "undecided"


def with_ours(args: argparse.Namespace, aside: Path) -> dict[str, str]:
    """The environment in which llama-perplexity, which loads no backends, computes with our kernels."""
    report = aside / REPORT
    report.unlink(missing_ok=True)
    return {
        "LD_PRELOAD": str(args.library),
        "INHOUSE_KERNELS": "preload",
        "INHOUSE_KERNELS_REPORT": str(report),
    }


def must_have_been_on(aside: Path) -> dict[str, Any]:
    """What the kernels report of that run; raises SystemExit where they did not compute."""
    told: dict[str, Any] = json.loads((aside / REPORT).read_text()) if (aside / REPORT).exists() else {}
    wheel.must_be_on(told)
    return told


def compare(args: argparse.Namespace, quantised: Path, words: Path, aside: Path) -> tuple[float, str]:
    """How far apart the two are, and a line that says so."""
    command = [args.bin / "llama-perplexity", "-m", quantised, "-f", words]
    command += ["-c", 512, "--chunks", args.chunks, "-t", args.threads]
    stock = losses(command, {})
    ours = losses(command, with_ours(args, aside))
    told = must_have_been_on(aside)
    apart = [own - theirs for own, theirs in zip(ours, stock, strict=True)]
    off, unsure = statistics.fmean(apart), statistics.stdev(apart) / math.sqrt(len(apart))
    tensors = ", ".join(f"{count} {name}" for name, count in told["tensors"].items()) or "no tensor"
    numbers = f"{math.exp(statistics.fmean(stock)):11.4f}{math.exp(statistics.fmean(ours)):11.4f}"
    return off, f"{numbers}{100 * off:+9.3f} % +- {100 * unsure:.3f}  {verdict(off, unsure):10}{tensors}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--bin", type=Path, required=True, help="folder of llama-perplexity and llama-quantize"
    )
    parser.add_argument("--model", type=Path, required=True, help="what the types are made of")
    parser.add_argument("--library", type=Path)
    parser.add_argument("--types", default=TYPES)
    parser.add_argument("--chunks", type=int, default=20)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    args.library = (args.library or importlib.import_module("inhouse_kernels").library()).absolute()
    print(f"{hardware()}; {args.model.name}, {args.chunks} chunks of 512 tokens")
    print(f"{'type':8}{'stock':>11}{'ours':>11}{'off':>9}      error  target {100 * TARGET:.1f} %")
    found: list[float] = []
    with tempfile.TemporaryDirectory(prefix="inhouse-perplexity-") as folder:
        aside = Path(folder)
        words = text(aside / "text.txt")
        for name in args.types.split(","):
            off, line = compare(args, made(args, name, aside), words, aside)
            print(f"{name:8}{line}", flush=True)
            found.append(off)
    farthest = max(found, key=abs)
    print(
        f"\nthe farthest is {100 * farthest:+.3f} % off; the mean of all {100 * statistics.fmean(found):+.3f} %"
    )


def made(args: argparse.Namespace, name: str, aside: Path) -> Path:
    """The model in that type."""
    if name == AS_IS:
        return Path(args.model)
    quantised = aside / "quantised.gguf"
    quantise = [args.bin / "llama-quantize", "--allow-requantize", "--pure", args.model, quantised]
    run([*quantise, NAMES.get(name, name), args.threads])
    return quantised


if __name__ == "__main__":
    main()
