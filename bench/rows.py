"""How many tokens a second are computed when so many rows go through the weights together, as a picture.

usage: python bench/rows.py --bin DIR --model FILE --picture FILE.svg [--library FILE] [--rounds 3]
       [--limits GB/S,GOPS]

A prompt of R tokens is a product with R rows: R = 1 is what one answer costs, 8 eight users or a guess that is
checked, 512 a prompt being read. llama-bench computes each with our kernels and without, by turns. With --limits
the roofline is drawn, too: R rows cannot go faster than memory delivers the weights once (GB/s as
``inhouse doctor`` tells), nor than all cores multiply (GOPS as native/bench/micro tells for one, times cores).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from pathlib import Path

import kernels
from common import hardware, shown

from inhouse import charts

ROWS = (1, 2, 4, 8, 16, 32, 128, 512)
REPEATED = 3


def speeds(setup: kernels.Setup, ours: bool, model: Path) -> tuple[dict[int, float], dict[str, float]]:
    """Tokens/s for each number of rows, and what llama-bench says of the model: its size and parameters."""
    words = ("-m", model, "-p", ",".join(map(str, ROWS)), "-n", 0, "-r", REPEATED, "-t", setup.threads)
    found = json.loads(setup.run(ours, "llama-bench", *words, "-o", "json")[0])
    facts = {key: float(found[0][key]) for key in ("model_size", "model_n_params")}
    return {one["n_prompt"]: one["avg_ts"] for one in found}, facts


def limit(rows: int, facts: dict[str, float], bandwidth: float, peak: float) -> float:
    """Tokens/s that memory (GB/s) and arithmetic (GOPS: 1e9 multiplications and additions a second) allow."""
    memory = rows * bandwidth * 1e9 / facts["model_size"]
    return min(memory, peak * 1e9 / (2 * facts["model_n_params"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=Path, required=True, help="folder of llama-bench")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--picture", type=Path, required=True)
    parser.add_argument("--name", help="of the model, in the picture")
    parser.add_argument("--library", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--limits", default="")
    args = parser.parse_args()
    library = (args.library or kernels.library()).absolute()
    setup = kernels.Setup(args.bin, library, args.threads, "")
    found: dict[bool, list[dict[int, float]]] = {False: [], True: []}
    facts: dict[str, float] = {}
    for turn in range(args.rounds):
        for ours in (bool(turn % 2), not turn % 2):
            numbers, facts = speeds(setup, ours, args.model)
            found[ours].append(numbers)
    series: dict[str, list[float | None]] = {
        name: [statistics.median(one[rows] for one in found[ours]) for rows in ROWS]
        for name, ours in (("llama.cpp", False), ("with our kernels", True))
    }
    if args.limits:
        bandwidth, peak = map(float, args.limits.split(","))
        series["limit of the machine"] = [limit(rows, facts, bandwidth, peak) for rows in ROWS]
    print(f"{hardware()}; {args.threads} threads, {args.rounds} rounds: median (least .. most), tokens/s")
    for rows in ROWS:
        stock, ours = ([one[rows] for one in found[which]] for which in (False, True))
        ratio = shown([a / b for a, b in zip(ours, stock, strict=True)])
        print(f"{rows:5}{shown(stock):>28}{shown(ours):>28}{ratio:>24}")
    title = f"{args.name or args.model.stem}: tokens a second, by rows that are computed together"
    args.picture.write_text(charts.bars(title, "tokens/s", [str(rows) for rows in ROWS], series), "utf-8")


if __name__ == "__main__":
    main()
