"""Do greedy answers with our kernels agree with stock as often as stock agrees with itself?

usage: python bench/agreement.py --models FILE[,FILE] [--library FILE] [--tokens 48] [--threads 2] [--exact FILE]

The wheel's llama.cpp continues 24 prompts of different kinds, one at a time, each time in a process of its
own: stock with one thread and with several, stock with attention in another order (no flash attention) and
with prompts read in smaller parts, which are as right; ours with one thread and with several. Two ways of
adding up the same numbers differ in the last bits, so greedy answers part where the two likeliest tokens are
nearly as likely; after that they answer different questions. ``--exact`` names the same weights written out as 32-bit
floats (llama-quantize --allow-requantize MODEL FILE F32), with which nobody rounds activations: how often does
either agree with that? What is told of each pair:

whole     answers that are equal to the last token
agreed    of all tokens, those up to the first that differs
gap       where they part: by how much the first of the pair found its token likelier than its second
          choice, as a difference of log-probabilities (median and most)
same      the first token of all, for which both have read exactly the same: its log-probability differs by
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wheel
from common import hardware

PROMPTS = (
    "The capital of France is",
    "Once upon a time there was a small",
    "Water boils at",
    "To bake bread, first you",
    "The three laws of thermodynamics say that",
    "The history of the Roman Empire begins with",
    "My favourite season is autumn, because",
    "Dear Sir or Madam,\n\nI am writing to",
    "def fibonacci(n):\n",
    "SELECT name FROM users WHERE",
    "#include <stdio.h>\n\nint main(void) {",
    "function debounce(callback, delay) {\n",
    "<!DOCTYPE html>\n<html>\n<head>",
    '{"name": "Ada", "age": 36, "languages": [',
    "1, 2, 3, 4, 5,",
    "Q: What is 17 times 23?\nA:",
    "If x + 3 = 10, then",
    "Translate into French: 'Good morning, how are you?'\n",
    "Die Hauptstadt von Deutschland ist",
    "El sol sale por",
    "Summary: The meeting was about the budget. Action items:\n-",
    "User: I cannot sleep at night. What can I do?\nAssistant:",
    "Roses are red,\nviolets are blue,\n",
    "WARNING: disk usage at 91% on /dev/sda1. Next steps:\n1.",
)


@dataclass(frozen=True)
class Way:
    """One way to compute the same answers."""

    name: str
    ours: bool
    threads: int
    fields: tuple[tuple[str, int], ...] = ()
    model: Path | None = None


@dataclass(frozen=True)
class Answer:
    """Token ids; the log-probability of each and by how much it was likelier than the next choice."""

    tokens: list[int]
    likely: list[float]
    gaps: list[float]


def ways(threads: int) -> list[Way]:
    return [
        Way("stock, 1 thread", False, 1),
        Way(f"stock, {threads} threads", False, threads),
        Way("stock, no flash attention", False, threads, (("flash_attention", 0),)),
        Way("stock, prompts by 4 tokens", False, threads, (("batch", 4),)),
        Way("ours, 1 thread", True, 1),
        Way(f"ours, {threads} threads", True, threads),
    ]


def asked(way: Way, model: Path, library: Path, tokens: int) -> list[Answer]:
    """What the model says in that way, by a child process."""
    order = {
        "library": str(library) if way.ours else "",
        "model": str(way.model or model),
        "threads": way.threads,
        "tokens": tokens,
        **dict(way.fields),
    }
    told = wheel.asked(__file__, order)["told"]
    return [_answer(one) for one in told]


def _answer(told: dict[str, Any]) -> Answer:
    steps = told["completion_probabilities"]
    likely = [[choice["logprob"] for choice in one["top_logprobs"]] for one in steps]
    return Answer(told["tokens"], [one[0] for one in likely], [one[0] - one[1] for one in likely])


def child(order: dict[str, Any]) -> None:
    """One server of the wheel, asked for all the answers."""

    def set_up(params: Any, xllamacpp: Any) -> None:
        params.n_parallel, params.n_ctx = 1, 512
        params.n_batch = params.n_ubatch = order.get("batch", 256)
        if "flash_attention" in order:
            params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED

    wheel.serve(order, set_up, lambda client: [_said(client, prompt, order["tokens"]) for prompt in PROMPTS])


def _said(client: Any, prompt: str, tokens: int) -> Any:
    body = {
        "prompt": prompt,
        "n_predict": tokens,
        "temperature": 0,
        "cache_prompt": False,
        "ignore_eos": True,
        "return_tokens": True,
        "n_probs": 2,
    }
    return client.post("/completion", json=body).raise_for_status().json()


def compared(first: list[Answer], second: list[Answer]) -> str:
    """A row of the table."""
    whole = agreed = 0
    gaps: list[float] = []
    for a, b in zip(first, second, strict=True):
        part = next((i for i, (x, y) in enumerate(zip(a.tokens, b.tokens, strict=True)) if x != y), None)
        whole += part is None
        agreed += len(a.tokens) if part is None else part
        if part is not None:
            gaps.append(a.gaps[part])
    share = 100 * agreed / sum(len(one.tokens) for one in first)
    gap = f"{statistics.median(gaps):.3f} ({max(gaps):.3f})" if gaps else "-"
    same = statistics.fmean(abs(a.likely[0] - b.likely[0]) for a, b in zip(first, second, strict=True))
    return f"{whole:3} of {len(first)}{share:8.1f} %{gap:>18}{same:10.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="", help="GGUF files, separated by commas")
    parser.add_argument("--library", type=Path)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--exact", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(json.loads(args.child))
    if not args.models:
        parser.error("--models is needed")
    library = (args.library or importlib.import_module("inhouse_kernels").library()).absolute()
    print(f"{hardware()}; {len(PROMPTS)} prompts, {args.tokens} tokens each, greedy")
    for model in (Path(name) for name in args.models.split(",")):
        print(f"\n{model.name}\n{'':54}{'whole':>8}{'agreed':>10}{'gap (most)':>18}{'same':>10}")
        found = [(way, asked(way, model, library, args.tokens)) for way in ways(args.threads)]
        base = found[1]
        pairs = [*((base, other) for other in found if other is not base), (found[-1], found[-2])]
        if args.exact:
            exact = Way("exact", False, args.threads, model=args.exact)
            truth = exact, asked(exact, model, library, args.tokens)
            pairs += [(truth, base), (truth, found[-1])]
        for (a, first), (b, second) in pairs:
            print(f"{a.name} and {b.name:35}{compared(first, second)}", flush=True)


if __name__ == "__main__":
    main()
