"""OpenVINO's speed with a GGUF file, as JSON; run by kernels.py with a Python that has openvino-genai.

usage: PYTHON bench/genai.py MODEL THREADS PROMPT GENERATED

Prints ``{"prefill": tokens/s, "decode": tokens/s}``, or ``{"why": ...}`` where it does not read the file.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

WARM_UP = 2  # tokens


def speeds(model: str, threads: int, prompt: int, generated: int) -> dict[str, float]:
    """Tokens/s of a prompt and of an answer, after a warm-up with other tokens (prefixes are kept)."""
    import numpy
    import openvino
    import openvino_genai

    pipeline = openvino_genai.LLMPipeline(model, "CPU", INFERENCE_NUM_THREADS=threads)

    def ask(count: int, first: int, tokens: int) -> Any:
        ids = numpy.array([[1000 + (first + 7 * i) % 5000 for i in range(count)]], dtype=numpy.int64)
        config = openvino_genai.GenerationConfig(
            max_new_tokens=tokens, min_new_tokens=tokens, ignore_eos=True, do_sample=False
        )
        mask = openvino.Tensor(numpy.ones_like(ids))
        inputs = openvino_genai.TokenizedInputs(openvino.Tensor(ids), mask)
        return pipeline.generate(inputs, config).perf_metrics

    ask(prompt, 3, WARM_UP)
    first = ask(prompt, 0, WARM_UP).get_ttft().mean  # ms
    each = ask(4, 1, generated).get_tpot().mean
    return {"prefill": prompt / first * 1000, "decode": 1000 / each}


def main() -> None:
    model, *numbers = sys.argv[1:]
    answer = os.dup(1)
    os.dup2(2, 1)  # it logs to standard output
    try:
        told: dict[str, Any] = speeds(model, *map(int, numbers))
    except RuntimeError as error:
        told = {"why": str(error).strip().splitlines()[-1][:200]}
    os.write(answer, json.dumps(told).encode())


if __name__ == "__main__":
    main()
