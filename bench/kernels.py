"""What do our kernels make of llama.cpp on this machine?

usage: python bench/kernels.py --bin DIR --models FILE[,FILE] [--library FILE] [--rounds 5] [--threads N]
       [--only prefill,decode,together,load,memory,wheel] [--openvino PYTHON]

DIR holds a native build's llama-bench (it must export ggml's symbols) and, for the eight sequences,
llama-batched-bench; without that one a batch of 8 tokens of one sequence stands in, and the output says so.
Each round runs every measurement with the library (GGML_BACKEND_PATH) and without, the order by turns, so
that both see the same weather. ``wheel`` does the same inside the xllamacpp wheel's server. ``--openvino`` names a
Python that has openvino-genai, whose numbers of the same round are then set beside ours.

Load is the wall time of a llama-bench that makes one token: start, self test, reading and packing; memory its
peak resident size, which counts the pages of a mapped file, too.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wheel
from common import hardware, shown

PREFILL, GENERATED, TOGETHER = 512, 48, 8
TARGETS = {
    "prefill": ">= 2.0",
    "decode": ">= 1.0",
    "together": ">= 2.5",
    "load": "<= 1.3",
    "memory": "<= 1.05",
}
WHEEL, BATCHED = "wheel", "llama-batched-bench"
OPENVINO = ("prefill", "decode")


@dataclass(frozen=True)
class Setup:
    """What is measured with: ``library`` is ours, ``openvino`` a Python; ``unread``: why it has no numbers."""

    folder: Path
    library: Path
    threads: int
    openvino: str
    unread: dict[Path, str] = field(default_factory=dict)

    def env(self, ours: bool, report: str, program: str = "") -> dict[str, str]:
        """llama-batched-bench loads no backends, so the library is preloaded there."""
        inside = {k: v for k, v in os.environ.items() if not k.startswith(("INHOUSE_", "GGML_"))}
        ways = {"LD_PRELOAD": str(self.library), "INHOUSE_KERNELS": "preload"}
        more = ways if program == BATCHED else {"GGML_BACKEND_PATH": str(self.library)}
        return inside | more | {"INHOUSE_KERNELS_REPORT": report} if ours else inside

    def run(self, ours: bool, program: str, *words: object) -> tuple[str, float, float]:
        """Standard output, seconds and peak MiB of a program; ends us where ours should be on and is not."""
        with tempfile.TemporaryDirectory(prefix="inhouse-bench-") as aside:
            report = f"{aside}/report.json"
            command = [str(self.folder / program), *(str(word) for word in words)]
            start = time.perf_counter()
            with Path(aside, "err").open("w+") as errors:
                process = subprocess.Popen(
                    command,
                    env=self.env(ours, report, program),
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                )
                assert process.stdout is not None
                told = process.stdout.read()
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                seconds = time.perf_counter() - start
                errors.seek(0)
                said = errors.read()
            if process.returncode:
                raise SystemExit(f"{program} failed: {said[-2000:]}")
            if ours:
                wheel.must_be_on(json.loads(Path(report).read_text()) if Path(report).exists() else {})
        return told, seconds, usage.ru_maxrss / 1024

    def speed(self, ours: bool, model: Path, prompt: int, generated: int) -> float:
        """Tokens/s of llama-bench."""
        words = ("-m", model, "-p", prompt, "-n", generated, "-r", 1, "-t", self.threads, "-o", "json")
        return float(json.loads(self.run(ours, "llama-bench", *words)[0])[0]["avg_ts"])

    def together(self, ours: bool, model: Path) -> float:
        """Tokens/s of all sequences together."""
        if not (self.folder / BATCHED).exists():
            return self.speed(ours, model, TOGETHER, 0)
        sizes = ("-npp", 16, "-ntg", 32, "-npl", TOGETHER, "-c", 1024)
        words = ("-m", model, *sizes, "-t", self.threads, "--output-format", "jsonl")
        lines = self.run(ours, BATCHED, *words)[0].splitlines()
        return float(json.loads(next(line for line in reversed(lines) if line.startswith("{")))["speed_tg"])

    def load(self, ours: bool, model: Path) -> tuple[float, float]:
        """Seconds and MiB until there is one token."""
        words = ("-m", model, "-p", 0, "-n", 1, "-r", 1, "-t", self.threads, "--no-warmup", "-o", "json")
        return self.run(ours, "llama-bench", *words)[1:]

    def genai(self, model: Path) -> dict[str, float]:
        """OpenVINO's tokens/s; nothing where it does not read the file."""
        words = [self.openvino, str(Path(__file__).with_name("genai.py")), str(model), str(self.threads)]
        done = subprocess.run(
            [*words, str(PREFILL), str(GENERATED)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"OpenVINO failed: {done.stderr[-2000:]}")
        told: dict[str, Any] = json.loads(done.stdout)
        if "why" in told:
            self.unread[model] = str(told["why"])
            return {}
        return told


def in_wheel(setup: Setup, ours: bool, model: Path) -> dict[str, float]:
    """The same inside the wheel's server, in a child."""
    order = {"library": str(setup.library) if ours else "", "model": str(model), "threads": setup.threads}
    told = wheel.asked(__file__, order)["told"]
    return {name: float(value) for name, value in told.items()}


def child(order: dict[str, Any]) -> None:
    """One server of the wheel, asked for a long prompt, a long answer and eight answers together."""

    def set_up(params: Any, _: Any) -> None:
        params.n_parallel, params.n_ctx, params.kv_unified = TOGETHER, TOGETHER * 1024, False

    def work(client: Any) -> dict[str, float]:
        def ask(prompt: list[int], tokens: int) -> dict[str, float]:
            body = {
                "prompt": prompt,
                "n_predict": tokens,
                "temperature": 0,
                "cache_prompt": False,
                "ignore_eos": True,
            }
            timings: dict[str, float] = (
                client.post("/completion", json=body).raise_for_status().json()["timings"]
            )
            return timings

        return _speeds(ask)

    wheel.serve(order, set_up, work)


def _speeds(ask: Callable[[list[int], int], dict[str, float]]) -> dict[str, float]:
    ask(_tokens(16), 2)
    prefill = ask(_tokens(PREFILL), 1)["prompt_per_second"]
    decode = ask(_tokens(4), GENERATED)["predicted_per_second"]
    with ThreadPoolExecutor(TOGETHER) as pool:
        answers = list(pool.map(lambda _: ask(_tokens(4), GENERATED), range(TOGETHER)))
    together = sum(one["predicted_per_second"] for one in answers)
    return {"prefill": prefill, "decode": decode, "together": together}


def _tokens(count: int) -> list[int]:
    return [1000 + 7 * i % 5000 for i in range(count)]


def rounds_of(setup: Setup, model: Path, only: set[str]) -> Iterator[dict[tuple[str, bool], float]]:
    """One round after the other: a number for each measurement, with ours and without."""
    turn = False
    while True:
        found: dict[tuple[str, bool], float] = {}
        for ours in (turn, not turn):
            if "prefill" in only:
                found["prefill", ours] = setup.speed(ours, model, PREFILL, 0)
            if "decode" in only:
                found["decode", ours] = setup.speed(ours, model, 0, GENERATED)
            if "together" in only:
                found["together", ours] = setup.together(ours, model)
            if only & {"load", "memory"}:
                found["load", ours], found["memory", ours] = setup.load(ours, model)
            if WHEEL in only:
                found |= {
                    (f"{WHEEL} {name}", ours): value for name, value in in_wheel(setup, ours, model).items()
                }
        if setup.openvino and only >= set(OPENVINO) and model not in setup.unread:
            for name, value in setup.genai(model).items():
                found[f"OpenVINO {name}", False], found[f"OpenVINO {name}", True] = value, found[name, True]
        yield found
        turn = not turn


def show(model: Path, rounds: list[dict[tuple[str, bool], float]], stand_in: bool) -> None:
    """Medians, spreads and the ratios of each round."""
    print(f"\n{model.name}\n{'':18}{'theirs':>28}{'ours':>28}{'ratio of a round':>24}  target")
    for name in dict.fromkeys(name for name, _ in rounds[0]):
        theirs, ours = ([one[name, which] for one in rounds] for which in (False, True))
        ratio = shown([a / b for a, b in zip(ours, theirs, strict=True)])
        label = "a batch of 8" if stand_in and name == "together" else name
        print(f"{label:18}{shown(theirs):>28}{shown(ours):>28}{ratio:>24}  {TARGETS.get(name, '')}")
        assert statistics.median(ours) > 0


def library() -> Path:
    """That of the installed package. Raises SystemExit where there is none."""
    try:
        found: Path = importlib.import_module("inhouse_kernels").library()
    except ImportError:
        raise SystemExit("name the library: --library FILE") from None
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=Path, help="folder of llama-bench")
    parser.add_argument("--models", default="", help="GGUF files, separated by commas")
    parser.add_argument("--library", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default=",".join((*TARGETS, WHEEL)))
    parser.add_argument("--openvino", default="", help="a Python that has openvino-genai")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(json.loads(args.child))
    if not args.bin or not args.models:
        parser.error("--bin and --models are needed")
    setup = Setup(args.bin, (args.library or library()).absolute(), args.threads, args.openvino)
    stand_in = not (args.bin / BATCHED).exists()
    print(f"{hardware()}; {args.threads} threads, {args.rounds} rounds: median (least .. most)")
    print(
        "tokens/s; load in s, memory in MiB"
        + ("; no llama-batched-bench: a batch of 8 tokens stands in" if stand_in else "")
    )
    for model in (Path(name) for name in args.models.split(",")):
        numbers = rounds_of(setup, model, set(args.only.split(",")))
        show(model, [next(numbers) for _ in range(args.rounds)], stand_in)
        if model in setup.unread:
            print(f"OpenVINO does not read it: {setup.unread[model]}")


if __name__ == "__main__":
    main()
